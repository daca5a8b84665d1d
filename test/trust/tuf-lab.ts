import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TrustMaterial } from '../../src/trust/material.js';
import { type CeremonyOptions, type InitOptions, initTuf } from '../../src/trust/tuf-ceremony.js';
import { defaultLifetimeDays } from '../../src/trust/tuf-metadata.js';
import { readTufTargets } from '../../src/trust/tuf-targets.js';
import { writeTrustFiles } from '../../src/trust/write.js';
import { createLab } from '../cli/request-lab.js';

export const dayMs = 24 * 60 * 60 * 1000;
export const start = new Date('2026-06-01T12:00:00.250Z');
export const later = (days: number): Date => new Date(start.getTime() + days * dayMs);

const [ca, former, tsa] = [createLab(), createLab(), createLab()];
const validFor = { start: new Date('2026-01-01T00:00:00Z') };
const operator = 'ca.example';

/** An instance with a former CA and a frozen log. */
export const material: TrustMaterial = {
  cas: [
    { chain: [ca.issuing, ca.root], uri: 'https://ca.example', validFor, operator },
    {
      chain: [former.issuing, former.root],
      uri: 'https://ca.example',
      validFor: { start: new Date('2025-01-01T00:00:00Z'), end: new Date('2026-01-02T00:00:00Z') },
      operator,
    },
  ],
  ctLogs: [{ baseUrl: 'https://ca.example/ctlog', publicKey: ca.logSpki, validFor, operator }],
  tsas: [{ chain: [tsa.issuing, tsa.root], uri: 'https://ca.example/api/v1/timestamp', validFor, operator }],
};

/** A directory with trust files and a repository made from them. */
export interface TufLab extends CeremonyOptions {
  readonly home: string;
  readonly trustDir: string;
  close(): Promise<void>;
}

/** The places of a repository that is not there yet. */
export async function emptyTufLab(): Promise<TufLab> {
  const home = await mkdtemp(join(tmpdir(), 'mayfly-tuf-'));
  const trustDir = join(home, 'trust');
  await writeTrustFiles(trustDir, material);
  return {
    home,
    trustDir,
    dir: join(home, 'tuf'),
    keysDir: join(home, 'keys/tuf'),
    offlineDirs: [join(home, 'tuf-offline')],
    passphrase: async () => 'correct horse',
    now: start,
    close: () => rm(home, { recursive: true, force: true }),
  };
}

/** A repository of the first day. */
export async function tufLab(options: Partial<InitOptions> = {}): Promise<TufLab> {
  const lab = await emptyTufLab();
  await initTuf({
    ...lab,
    targets: await readTufTargets(lab.trustDir, start),
    root: { keys: 1, threshold: 1 },
    targetsRole: { keys: 1, threshold: 1 },
    lifetimes: defaultLifetimeDays,
    ...options,
  });
  return lab;
}

/** Another instance's trust files in place of the first one's. */
export async function changeTrust(lab: TufLab): Promise<void> {
  await mkdir(lab.trustDir, { recursive: true });
  await writeTrustFiles(lab.trustDir, { ...material, cas: material.cas.slice(0, 1) });
}

/** Puts text in the place of a file of the repository. */
export function damage(lab: TufLab, name: string, text: string): Promise<void> {
  return writeFile(join(lab.dir, name), text);
}
