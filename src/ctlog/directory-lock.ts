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
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  let held: boolean;
  try {
    held = tryLock(fd);
  } catch (cause) {
    fs.closeSync(fd);
    const reason = `the file system of ${file} refuses locks (${messageOf(cause)}); a log needs one that supports them`;
    throw new AppError('STARTUP', reason, { cause });
  }
  if (!held) {
    fs.closeSync(fd);
    throw new AppError(
      'STARTUP',
      `the log in ${directory} is in use by another process, and a log has one writer: stop the other one first`,
    );
  }
  return { release: () => fs.closeSync(fd) };
}
