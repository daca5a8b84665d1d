import { type FileHandle, lstat, mkdir, open, readlink } from 'node:fs/promises';
import { AppError, messageOf } from '../errors.js';

/** Whether an error of node:fs has this code. */
export function isCode(error: unknown, ...codes: readonly string[]): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && codes.includes(String(error.code));
}

/**
 * Reads a file that holds a secret, which messages call `what`. Throws AppError STARTUP when it is missing or unreadable, or
 * when others than this process's user can read or write it.
 */
export async function readPrivateFile(path: string, what = 'key file'): Promise<string> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    // The opened file is the one examined: a name can be made to point elsewhere in between.
    const stats = await handle.stat();
    if (stats.isDirectory()) throw new TypeError('it is a directory');
    const { mode, uid } = stats;
    if (isOpenToOthers(mode) && !(await isMountedSecret(path, mode, uid))) {
      const found = (mode & 0o777).toString(8).padStart(4, '0');
      throw new AppError(
        'STARTUP',
        `the ${what} ${path} has the mode ${found}, so that others can use it; run: chmod 600 ${quoted(path)} ` +
          '(for a Kubernetes Secret: defaultMode 0400, or fsGroup)',
      );
    }
    return await handle.readFile('utf8');
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    const why = isCode(cause, 'ENOENT') ? 'it is missing' : messageOf(cause);
    throw new AppError('STARTUP', `cannot read the ${what} ${path}: ${why}`, { cause });
  } finally {
    await handle?.close();
  }
}

function isOpenToOthers(mode: number): boolean {
  // Windows has no such bits; process.getuid tells it apart.
  return process.getuid !== undefined && (mode & 0o077) !== 0;
}

/**
 * Kubernetes mounts a Secret owned by root and, with fsGroup, readable by the pod's own group: 0440 or 0640. That is as
 * private as it gets there. A root process is shown the same by the links of a Secret volume, name → ..data/name.
 */
async function isMountedSecret(path: string, mode: number, uid: number): Promise<boolean> {
  const groupMayOnlyRead = (mode & 0o037) === 0;
  if (uid !== 0 || !groupMayOnlyRead) return false;
  if (process.getuid?.() !== 0) return true;
  return (await lstat(path)).isSymbolicLink() && (await readlink(path)).startsWith('..data/');
}

/** Throws AppError STARTUP when a directory that this user owns lets others in; a mounted one is judged by its files. */
export async function checkPrivateDirectory(path: string): Promise<void> {
  const { mode, uid } = await lstat(path);
  if (uid !== process.getuid?.() || !isOpenToOthers(mode) || (mode & 0o1000) !== 0) return;
  const found = (mode & 0o777).toString(8).padStart(4, '0');
  throw new AppError(
    'STARTUP',
    `the key directory ${path} has the mode ${found}, so that others can use it; run: chmod 700 ${quoted(path)}`,
  );
}

function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** Creates a directory and, durably, files in it (0600 unless told). The directory must not exist yet. */
export async function writeNewDirectory(
  path: string,
  files: readonly (readonly [name: string, content: string])[],
): Promise<void> {
  await mkdir(path, { mode: 0o700 });
  for (const [name, content] of files) await writeNewFile(`${path}/${name}`, content, 0o600);
  await syncDirectory(path);
}

/** Writes a file that must not exist yet, and flushes it to the disk. */
export async function writeNewFile(path: string, content: string, mode: number): Promise<void> {
  const handle = await open(path, 'wx', mode);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Flushes a directory's entries: a rename is durable only after this. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
