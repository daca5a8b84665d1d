import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { type Disk, disk } from '../../src/audit/disk.js';
import { openTrailFile } from '../../src/audit/open-file.js';
import type { AuditRecord } from '../../src/audit/record.js';
import { Trail } from '../../src/audit/trail.js';
import type { TrailLimits } from '../../src/audit/trail-options.js';
import { type Problem, type VerifiedTrail, verifyTrails } from '../../src/audit/verify.js';

/** A directory with a trail in it. */
export interface Lab {
  readonly dir: string;
  readonly path: string;
  /** Opens the trail; limits and disk as a test wants them. */
  open(options?: OpenOptions): Promise<Opened>;
  lines(file?: string): string[];
  write(lines: readonly string[], file?: string): void;
  verify(...files: readonly string[]): { trails: VerifiedTrail[]; problems: Problem[] };
  remove(): void;
}

export interface OpenOptions {
  readonly disk?: Disk;
  readonly limits?: Partial<TrailLimits>;
  readonly onFailure?: 'refuse' | 'warn';
  readonly clock?: () => number;
}

export interface Opened {
  readonly trail: Trail;
  readonly tellings: readonly string[];
  /** As a kill would: nothing more is written, the lock is free. */
  abandon(): void;
  close(): Promise<void>;
}

export const testLimits: TrailLimits = {
  maxBytes: Number.POSITIVE_INFINITY,
  maxAgeMs: Number.POSITIVE_INFINITY,
  hangMs: 2000,
  retryMs: 5,
  maxWaiting: 1000,
};

export const silent = pino({ level: 'silent' });

export function createLab(): Lab {
  const dir = mkdtempSync(join(tmpdir(), 'mayfly-audit-'));
  const path = join(dir, 'audit.jsonl');
  const lines = (file = path): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return {
    dir,
    path,
    lines,
    async open({ disk: calls = disk, limits = {}, onFailure = 'refuse', clock = Date.now } = {}) {
      const { trailId = 'a trail', lock, tellings, ...found } = await openTrailFile(path, calls, clock);
      const trail = new Trail({
        ...found,
        opening: { trail: trailId, instance: 'https://ca.example.com', version: '1' },
        onFailure,
        limits: { ...testLimits, ...limits },
        clock,
        logger: silent,
        observe: () => {},
      });
      return {
        trail,
        tellings,
        abandon: () => lock?.release(),
        async close() {
          await trail.close();
          lock?.release();
        },
      };
    },
    write: (all, file = path) => writeFileSync(file, all.map((line) => `${line}\n`).join('')),
    verify(...files) {
      const problems: Problem[] = [];
      const given = files.length === 0 ? [path] : files;
      return { trails: verifyTrails(given, { report: (problem) => problems.push(problem) }), problems };
    },
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}

const hex = (n: number, length: number): string => n.toString(16).padStart(length, '0');

export function intent(n: number): AuditRecord {
  return { event: 'intent', requestId: `request-${n}`, serial: hex(n, 40), entry: hex(n, 64) };
}

export function issued(n: number): AuditRecord {
  return { ...intent(n), event: 'issued', logs: [{ id: hex(1, 64), index: n }] };
}

export function failed(n: number): AuditRecord {
  return { event: 'failed', requestId: `request-${n}`, code: 'TOKEN_EXPIRED' };
}

/** A trail of so many certificates that ended in order. */
export async function writeTrail(lab: Lab, certificates: number, options: OpenOptions = {}): Promise<void> {
  const opened = await lab.open(options);
  for (let n = 0; n < certificates; n++) {
    await opened.trail.append(intent(n));
    await opened.trail.append(issued(n));
  }
  await opened.close();
}
