import { existsSync } from 'node:fs';
import { link, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { AppError, messageOf } from '../errors.js';
import { isCode, syncDirectory, writeNewFile } from './private-file.js';

/** A file that a ceremony leaves behind. */
export interface CeremonyFile {
  readonly path: string;
  readonly content: string;
  /** Private ones get the mode 0600, public ones 0644. */
  readonly isPrivate: boolean;
}

const modeOf = ({ isPrivate }: CeremonyFile): number => (isPrivate ? 0o600 : 0o644);

/**
 * Makes a directory of these files (paths relative to it, all directories 0700), all or none: they are written and flushed
 * in `PATH.new-ID` beside it, and the rename of that is the one step that counts. `finish` may add to that directory
 * before. The directory must be missing or empty. Throws AppError STARTUP otherwise, having changed nothing.
 */
export async function writeDirectory(
  path: string,
  files: readonly CeremonyFile[],
  id: string,
  finish: (staged: string) => Promise<unknown>,
): Promise<void> {
  const target = resolve(path);
  const staged = `${target}.new-${id}`;
  await checkEmpty(target);
  try {
    await mkdir(dirname(target), { recursive: true });
    await mkdir(staged, { mode: 0o700 });
    for (const file of files) {
      const place = join(staged, file.path);
      await mkdir(dirname(place), { recursive: true, mode: 0o700 });
      await writeNewFile(place, file.content, modeOf(file));
    }
    await finish(staged);
    for (const directory of directoriesOf(files)) await syncDirectory(join(staged, directory));
    await rename(staged, target);
    await syncDirectory(dirname(target));
  } catch (cause) {
    await discard(staged);
    throw explain(cause, target);
  }
}

/** Every directory that files lie in, and those above, below the one that is made. */
function directoriesOf(files: readonly CeremonyFile[]): ReadonlySet<string> {
  const found = new Set(['.']);
  for (const { path } of files) for (let at = dirname(path); at !== '.'; at = dirname(at)) found.add(at);
  return found;
}

/** Throws AppError STARTUP unless the directory is missing or empty. */
export async function checkEmpty(path: string): Promise<void> {
  const target = resolve(path);
  let entries: readonly string[];
  try {
    entries = await readdir(target);
  } catch (cause) {
    if (isCode(cause, 'ENOENT')) return;
    throw explain(cause, target);
  }
  if (entries.length === 0) return;
  const found = entries.slice(0, 3).join(', ') + (entries.length > 3 ? ' …' : '');
  throw new AppError(
    'STARTUP',
    `${target} is not empty (${found}); nothing is ever overwritten. Name a directory that does not exist yet, or add a CA ` +
      'to this one with "mayfly ca add"',
  );
}

/** What ceremonies that were cut short left beside a directory: keys that no certificate ever left with. */
export async function leftovers(path: string): Promise<readonly string[]> {
  const target = resolve(path);
  const entries = await readdir(dirname(target)).catch(() => []);
  const prefix = `${basename(target)}.new-`;
  return entries.filter((name) => name.startsWith(prefix)).map((name) => join(dirname(target), name));
}

/**
 * Writes files to paths of the caller's choice, none of which may exist. All are written and flushed under staged names
 * first; they then get their own in the order given, so that a crash in between leaves a beginning of the list. When one
 * cannot be placed, those before it are taken back. Throws AppError STARTUP. `hardLink` is the file system's.
 */
export async function writeFiles(
  files: readonly CeremonyFile[],
  id: string,
  hardLink: (from: string, to: string) => Promise<void> = link,
): Promise<void> {
  checkUnused(files.map(({ path }) => path));
  const stagedName = ({ path }: CeremonyFile): string => `${resolve(path)}.new-${id}`;
  const placed: string[] = [];
  let current = '';
  try {
    for (const file of files) {
      current = file.path;
      await mkdir(dirname(resolve(file.path)), { recursive: true, mode: 0o700 });
      await writeNewFile(stagedName(file), file.content, modeOf(file));
    }
    for (const file of files) {
      current = file.path;
      await placeFile(file, stagedName(file), hardLink);
      placed.push(file.path);
      await syncDirectory(dirname(resolve(file.path)));
    }
  } catch (cause) {
    for (const path of placed) await discard(path);
    throw explain(cause, current);
  } finally {
    for (const file of files) await discard(stagedName(file));
  }
}

/** Unlike a rename, a link never replaces a file that somebody else put there meanwhile. */
async function placeFile(
  file: CeremonyFile,
  staged: string,
  hardLink: (from: string, to: string) => Promise<void>,
): Promise<void> {
  try {
    await hardLink(staged, file.path);
  } catch (cause) {
    // FAT, the file system of USB sticks, has no links.
    if (!isCode(cause, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')) throw cause;
    await writeWhole(file);
  }
}

async function writeWhole(file: CeremonyFile): Promise<void> {
  try {
    await writeNewFile(file.path, file.content, modeOf(file));
  } catch (cause) {
    if (!isCode(cause, 'EEXIST')) await discard(file.path);
    throw cause;
  }
}

/** Removes what is in the way of a second attempt; that this fails must not hide why the first one did. */
async function discard(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => undefined);
}

/** Throws AppError STARTUP when one of these exists, or two are the same. */
export function checkUnused(paths: readonly string[]): void {
  const twice = paths.find((path, i) => paths.findIndex((other) => resolve(other) === resolve(path)) !== i);
  if (twice !== undefined) throw new AppError('STARTUP', `${twice} is named twice; expected a file for each`);
  const used = paths.find((path) => existsSync(path));
  if (used !== undefined) throw new AppError('STARTUP', `${used} exists; nothing is ever overwritten`);
}

function explain(cause: unknown, path: string): AppError {
  if (cause instanceof AppError) return cause;
  const why = isCode(cause, 'EEXIST', 'ENOTEMPTY')
    ? 'it exists; nothing is ever overwritten'
    : isCode(cause, 'EBUSY')
      ? 'it is a mount point; name a directory below it'
      : messageOf(cause);
  return new AppError('STARTUP', `cannot write ${path}: ${why}`, { cause });
}
