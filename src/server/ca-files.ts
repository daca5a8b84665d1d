import type { FSWatcher } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { watchDirectory } from './identity-source.js';

/**
 * What tells one content of some files from the next without reading them: identity, size and time of what each path
 * leads to, so that a swapped symbolic link counts as a change. A file that is missing counts too.
 */
export async function stampOf(paths: readonly string[]): Promise<string> {
  const stamps = paths.map(async (path) => {
    try {
      const { dev, ino, size, mtimeMs } = await stat(path);
      return `${dev}:${ino}:${size}:${mtimeMs}`;
    } catch {
      return 'none';
    }
  });
  return (await Promise.all(stamps)).join(' ');
}

/** Watches files in whatever way they are replaced: written, renamed over, or behind Kubernetes' `..data`. */
export function watchFiles(paths: readonly string[], onChange: () => void): { close(): void } {
  const names = new Map<string, string[]>();
  for (const path of paths) {
    const directory = dirname(path);
    names.set(directory, [...(names.get(directory) ?? ['..data']), basename(path)]);
  }
  const watchers = [...names].flatMap(([directory, files]): FSWatcher[] => {
    const watcher = watchDirectory(directory, files, onChange);
    return watcher === undefined ? [] : [watcher];
  });
  return {
    close() {
      for (const watcher of watchers) watcher.close();
    },
  };
}
