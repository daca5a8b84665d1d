import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { issuerChain } from '../../src/ctlog/candidate.js';
import { type EmbeddedLog, openEmbeddedLog } from '../../src/ctlog/log.js';
import type { LogStorage } from '../../src/ctlog/storage.js';
import { chain } from '../../test/ctlog/certificates.js';

export const issuers = issuerChain(chain);
export const origin = 'bench.example.com/ctlog';

/** A log to measure: where it is and whose. */
export interface LogFiles {
  readonly directory: string;
  readonly indexDir: string;
  readonly key: KeyObject;
  remove(): void;
}

/** Places for a new log below `parent`. */
export function newLogFiles(parent: string): LogFiles {
  const base = mkdtempSync(join(resolve(parent), 'mayfly-bench-'));
  const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    directory: join(base, 'log'),
    indexDir: join(base, 'index'),
    key,
    remove: () => rmSync(base, { recursive: true, force: true }),
  };
}

const say = (_: unknown, text?: string): void => void process.stderr.write(`log: ${text ?? ''}\n`);
/** Complaints of the log go to standard error: a benchmark of a log that complains is none. */
const logger = { info() {}, warn: say, error: say };

/** Opens a log as `mayfly serve` does; `storage` is another than the directory itself. */
export function openLog({ directory, indexDir, key }: LogFiles, storage?: LogStorage): Promise<EmbeddedLog> {
  const acceptedIssuers = () => [chain];
  return openEmbeddedLog({
    storage: storage ?? directory,
    indexDir,
    key,
    origin,
    acceptedIssuers,
    clock: Date.now,
    logger,
  });
}

/** Space that the files below a path take on disk, in bytes, directories included. */
export function diskBytes(path: string): number {
  const stat = lstatSync(path);
  const own = stat.blocks * 512;
  if (!stat.isDirectory()) return own;
  return readdirSync(path).reduce((sum, name) => sum + diskBytes(join(path, name)), own);
}
