import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError } from '../errors.js';
import { hasCode, replaceFile, syncPath } from './durable-file.js';

/** The file that says where the log of a directory is written now. */
function movedMarker(directory: string): string {
  return join(directory, '.writer', 'moved');
}

/** Where the log of this directory was moved to, such as `s3://bucket/prefix`; undefined while it is still written here. */
export function movedTo(directory: string): string | undefined {
  try {
    return readFileSync(movedMarker(directory), 'utf8').trim();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/**
 * Takes the log of this directory from its writers, durably; call it with the writer's lock held. A directory without a
 * log gets the mark too, so that none begins there.
 */
export async function markMoved(directory: string, to: string): Promise<void> {
  const marker = movedMarker(directory);
  await mkdir(dirname(marker), { recursive: true, mode: 0o700 });
  await replaceFile(marker, `${marker}.new`, Buffer.from(`${to}\n`), { mode: 0o600, sync: true });
  for (const path of [dirname(marker), directory, dirname(directory)]) await syncPath(path);
}

/** Throws AppError STARTUP when the log of this directory was moved, unless it was to `allowed`. */
export function refuseMoved(directory: string, allowed?: string): void {
  const to = movedTo(directory);
  if (to === undefined || to === allowed) return;
  throw new AppError(
    'STARTUP',
    `the log in ${directory} was moved to ${to} by "mayfly log copy" and is written there: start with --ctlog-storage and ` +
      '--ctlog-postgres. If the copy was cut short, run it again; it goes on where it stopped',
  );
}

/**
 * Throws AppError STARTUP when a writer of the object store `name` would begin a second log with the key of the one in
 * `directory`, because that was never moved, or was moved elsewhere.
 */
export function requireMoved(directory: string, name: string): void {
  if (!existsSync(join(directory, '.writer', 'committed'))) return;
  const to = movedTo(directory);
  if (to === name) return;
  const found = to === undefined ? 'and was never moved' : `and was moved to ${to}`;
  throw new AppError(
    'STARTUP',
    `--ctlog-storage leads to ${name}, but the log is in ${directory} ${found}: a log that begins anew with the same key ` +
      'would contradict it. Move it with "mayfly log copy" or name the place it was moved to; if the store itself was ' +
      `moved there as a whole, move ${directory} away`,
  );
}
