import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Runs a command; throws with what it said on standard error when it fails. */
function call(command: string, ...args: readonly string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** A small file system in memory. */
export interface SmallDisk {
  readonly path: string;
  /** Makes every path on it read-only, for processes that opened a file before too. */
  makeReadOnly(): void;
  makeWritable(): void;
  unmount(): void;
}

/** Mounts a tmpfs of so many KiB; throws where this process may not mount, which takes root. */
export function mountSmallDisk(kib: number): SmallDisk {
  const path = mkdtempSync(join(tmpdir(), 'mayfly-disk-'));
  try {
    call('mount', '-t', 'tmpfs', '-o', `size=${kib}k`, 'tmpfs', path);
  } catch (error) {
    rmSync(path, { recursive: true });
    throw error;
  }
  let readOnly = false;
  return {
    path,
    // A remount is refused while the log's lock is open, so a read-only view is laid over the writable one.
    makeReadOnly() {
      call('mount', '--bind', path, path);
      call('mount', '-o', 'remount,bind,ro', path);
      readOnly = true;
    },
    makeWritable() {
      call('umount', path);
      readOnly = false;
    },
    unmount() {
      if (readOnly) call('umount', path);
      call('umount', '--lazy', path);
      rmSync(path, { recursive: true });
    },
  };
}

/** Whether this process may mount file systems. */
export function canMount(): boolean {
  try {
    mountSmallDisk(64).unmount();
    return true;
  } catch {
    return false;
  }
}

/** Limits the size of files that a running process may write, in bytes; `unlimited` takes the limit away. */
export function limitFileSize(pid: number, limit: number | 'unlimited'): void {
  call('prlimit', '--pid', `${pid}`, `--fsize=${limit}:`);
}
