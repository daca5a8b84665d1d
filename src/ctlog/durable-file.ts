import fs from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

/** The callback API, promisified: one thread pool round trip a call, without the cost of FileHandle objects. */
export const openFile = promisify(fs.open);
export const closeFile = promisify(fs.close);
/** Makes a file's content durable, and of what is known about it only what reading it back needs. */
const syncData = promisify(fs.fdatasync);
const fsyncFile = promisify(fs.fsync);
const writeFile = promisify(fs.write);
const renameFile = promisify(fs.rename);
const chmodFile = promisify(fs.fchmod);

export interface NewFile {
  readonly mode: number;
  /** The umask would take bits of `mode` away: set the mode after creation. */
  readonly chmod?: boolean;
  /** fdatasync before the file is closed, so that the rename that may follow never shows less than the whole. */
  readonly sync: boolean;
  /** Fail with EEXIST rather than write over a file. */
  readonly exclusive?: boolean;
}

/** Writes a whole file; on failure the file may exist with any part of the content. */
export async function writeWhole(path: string, bytes: Uint8Array, options: NewFile): Promise<void> {
  const fd = await openFile(path, options.exclusive === true ? 'wx' : 'w', options.mode);
  try {
    if (options.chmod === true) await chmodFile(fd, options.mode);
    await writeAt(fd, bytes, 0);
    if (options.sync) await syncData(fd);
  } finally {
    await closeFile(fd);
  }
}

/** Writes all of `bytes` at an offset; on failure any part of them may have been written. */
export async function writeAt(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await writeFile(fd, bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/** Linux alone promises that a write with this flag is as durable as one with an fdatasync after it (open(2)). */
const dataSync = process.platform === 'linux' ? fs.constants.O_DSYNC : 0;

/** Opens a file that is there for `writeDurably`. */
export function openDurable(path: string): Promise<number> {
  return openFile(path, fs.constants.O_RDWR | dataSync);
}

/** `writeAt` on a file of `openDurable`, durable when it resolves: by the flag, one way to the thread pool instead of two. */
export async function writeDurably(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  await writeAt(fd, bytes, position);
  if (dataSync === 0) await syncData(fd);
}

/** What a disk and the page cache write at once: whole pages are written without reading them first. */
export const pageBytes = 4096;

/** The parts in one, with zeros up to the end of the last page. */
export function paddedToPages(parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat(parts, Math.ceil(length / pageBytes) * pageBytes);
}

/** Writes `path` by way of `temporary` in the same file system: readers see the old content or the new one. */
export async function replaceFile(path: string, temporary: string, bytes: Uint8Array, options: NewFile): Promise<void> {
  await writeWhole(temporary, bytes, options);
  await renameFile(temporary, path);
}

/** Makes a file's content, or the names in a directory, durable. */
export async function syncPath(path: string): Promise<void> {
  const fd = await openFile(path, 'r');
  try {
    await fsyncFile(fd);
  } finally {
    await closeFile(fd);
  }
}

/** The content of a file, or undefined when there is no such file. */
export async function readIfExists(path: string): Promise<Uint8Array | undefined> {
  try {
    return await fs.promises.readFile(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/**
 * Makes a directory and those above it that are missing. One by one: mkdir of Node with `recursive` says ENOENT on a
 * read-only disk, and never ends where a directory cannot be made below one that is there (/proc).
 */
export function makeDirectories(path: string, mode: number): void {
  const missing: string[] = [];
  for (let at = path; !fs.existsSync(at); at = dirname(at)) missing.unshift(at);
  for (const directory of missing) {
    try {
      fs.mkdirSync(directory, { mode });
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
    }
  }
}

/** Whether a thrown value is a system error with one of these codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && codes.includes(String(error.code));
}
