import fs from 'node:fs';
import { createRequire } from 'node:module';
import { AppError, messageOf } from '../errors.js';

interface NativeLocks {
  /** False when another open file description holds the lock. */
  tryLock(fd: number): boolean;
}

/** The package has neither types nor an ES module. */
const { tryLock } = createRequire(import.meta.url)('fs-native-extensions') as NativeLocks;

/** Held until `release`, or until the process ends in whatever way. */
export interface DirectoryLock {
  release(): void;
}

/**
 * Takes the exclusive writer's lock on `file`: an open-file-description lock of the kernel, which a kill -9 frees,
 * which containers on one host share, and which also excludes a second opening in the same process.
 *
 * Throws AppError STARTUP when somebody else holds it; `directory` is what the message calls the log.
 */
export function lockDirectory(file: string, directory: string): DirectoryLock {
  let lock: DirectoryLock | undefined;
  try {
    lock = tryLockFile(file);
  } catch (cause) {
    if (!(cause instanceof LockRefused)) throw cause;
    throw new AppError('STARTUP', `${cause.message}; a log needs one that supports them`, { cause });
  }
  if (lock !== undefined) return lock;
  throw new AppError(
    'STARTUP',
    `the log in ${directory} is in use by another process, and a log has one writer: stop the other one first`,
  );
}

/** A file system without locks. */
class LockRefused extends Error {}

/** The lock on `file`, which is made if it is missing; undefined when somebody else holds it. Throws what the file system says. */
export function tryLockFile(file: string): DirectoryLock | undefined {
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  let held: boolean;
  try {
    held = tryLock(fd);
  } catch (cause) {
    fs.closeSync(fd);
    throw new LockRefused(`the file system of ${file} refuses locks (${messageOf(cause)})`, { cause });
  }
  if (!held) {
    fs.closeSync(fd);
    return undefined;
  }
  return { release: () => fs.closeSync(fd) };
}
