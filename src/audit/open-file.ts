import fs from 'node:fs';
import { dirname } from 'node:path';
import { type DirectoryLock, tryLockFile } from '../ctlog/directory-lock.js';
import { AppError, messageOf } from '../errors.js';
import type { Disk } from './disk.js';
import { HeadFile, headPath, type NotedHead, readHead } from './head-file.js';
import { noHead } from './line.js';
import { findPredecessor, type ScannedFile, scanFile } from './scan.js';
import { TrailFile } from './trail-file.js';
import type { TrailOptions } from './trail-options.js';

/** Where a trail goes on. */
export interface OpenedFile
  extends Pick<TrailOptions, 'output' | 'head' | 'open' | 'previous' | 'torn' | 'missing' | 'began'> {
  /** Undefined for a trail that begins. */
  readonly trailId?: string;
  readonly lock?: DirectoryLock;
  /** What the operator should know of what was found. */
  readonly tellings: readonly string[];
}

/**
 * Opens the file of a trail for its one writer, or makes it, and finds the end of the chain: in it, or in the file that was
 * set aside last. Throws AppError STARTUP.
 */
export async function openTrailFile(path: string, disk: Disk, clock: () => number): Promise<OpenedFile> {
  const lock = lockTrail(path);
  try {
    fs.accessSync(dirname(path), fs.constants.W_OK);
    const fd = await disk.open(path);
    await disk.syncDirectory(dirname(path));
    const noted = readNoted(path);
    const output = (size: number) => new TrailFile(path, fd, size, disk, new HeadFile(headPath(path)));
    const found = continued(path, fd, output, clock);
    return { ...found, ...missingFrom(found, noted), lock };
  } catch (cause) {
    lock.release();
    if (cause instanceof AppError) throw cause;
    throw new AppError('STARTUP', `--audit-log: cannot use ${path} for the audit trail: ${messageOf(cause)}`, {
      cause,
    });
  }
}

/** Beside the trail and not on it: its file is renamed at every rotation. */
function lockTrail(path: string): DirectoryLock {
  let lock: DirectoryLock | undefined;
  try {
    lock = tryLockFile(`${path}.lock`);
  } catch (cause) {
    throw new AppError('STARTUP', `--audit-log: cannot lock ${path}.lock: ${messageOf(cause)}`, { cause });
  }
  if (lock !== undefined) return lock;
  const advice = 'a trail has one writer: stop the other one first, or give this one a file of its own';
  throw new AppError('STARTUP', `--audit-log: ${path} is in use by another process, and ${advice}`);
}

/** One that cannot be read is no reason not to start, and is written anew. */
function readNoted(path: string): NotedHead | undefined {
  try {
    return readHead(headPath(path));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Lines are noted once they are durable, so a chain that ends before the noted one was cut off or changed since. */
function missingFrom(
  { trailId, head, tellings }: OpenedFile,
  noted: NotedHead | undefined,
): Pick<OpenedFile, 'missing' | 'tellings'> {
  if (noted === undefined) return { tellings };
  if (noted.trail !== trailId) {
    // Moved away by its owner, or removed by somebody else: only the owner knows.
    const gone = `line ${noted.seq} of the audit trail ${noted.trail} was written here, and that trail is not here now`;
    return {
      tellings: [...tellings, `${gone}; ${trailId === undefined ? 'a new trail begins' : 'another one goes on'}`],
    };
  }
  if (noted.seq < head.seq || (noted.seq === head.seq && noted.hash === head.hash)) return { tellings };
  const found = `line ${noted.seq} of the audit trail was written, and the trail now ends at line ${head.seq}`;
  const telling = `${found} without it: its end was cut off or changed; it goes on from there, and says so for good`;
  return { missing: { seq: noted.seq, sha256: noted.hash }, tellings: [...tellings, telling] };
}

function continued(path: string, fd: number, outputOf: (size: number) => TrailFile, clock: () => number): OpenedFile {
  const scanned = scanFile(fd);
  const { first, torn } = scanned;
  const base = { output: outputOf(scanned.end), began: clock(), ...(torn === undefined ? {} : { torn }) };
  if (first !== undefined) {
    const { head, open } = scanned;
    return { ...base, head, open, ...idOf(scanned), began: Date.parse(first.time), tellings: aboutTorn(scanned) };
  }
  if (torn !== undefined && !isBegunLine(fd, torn.bytes)) {
    const found = `${path} holds something else (its first line is not one of a trail)`;
    throw new AppError('STARTUP', `--audit-log: ${found}; name another file, or move this one away`);
  }
  const before = findPredecessor(path);
  if (before === undefined) return { ...base, head: noHead, open: new Map(), tellings: aboutTorn(scanned) };
  const { head, open, torn: tornBefore } = before.scanned;
  const previous = { file: before.file, ...(tornBefore === undefined ? {} : { torn: tornBefore }) };
  const tellings = [...aboutTorn(before.scanned), ...aboutTorn(scanned)];
  return { ...base, head, open, previous, ...idOf(before.scanned), tellings };
}

function idOf({ first }: ScannedFile): { trailId?: string } {
  return first?.trail === undefined ? {} : { trailId: first.trail };
}

function aboutTorn({ torn, head }: ScannedFile): string[] {
  if (torn === undefined) return [];
  const found = `${torn.bytes} bytes behind line ${head.seq} of the audit trail are not its next line`;
  return [
    `${found}: a write that was cut off, or a change; they stay as they are, and "mayfly audit verify" says more`,
  ];
}

/** Whether bytes without a whole line can be the beginning of one. */
function isBegunLine(fd: number, length: number): boolean {
  const start = '{"prev":"';
  const bytes = Buffer.alloc(Math.min(length, start.length));
  fs.readSync(fd, bytes, 0, bytes.length, 0);
  return start.startsWith(bytes.toString('latin1'));
}
