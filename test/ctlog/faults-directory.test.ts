import { cpSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDirectoryStorage, readDirectory } from '../../src/ctlog/directory-storage.js';
import type { LogStorage } from '../../src/ctlog/storage.js';
import { faultTable, rowsOf, type Subject } from './fault-table.js';
import { faultModes, type Tear, tearing } from './faulty-storage.js';
import { temporaryDirectory } from './fixtures.js';

const pageBytes = 4096;
const slotBytes = 17 * pageBytes;

/**
 * What the disk may hold of a write that was cut short: of a file that is replaced by rename, half of the temporary one;
 * of the committed checkpoint, a slot whose second half is missing.
 */
function tearOf(path: string, inner: LogStorage): Tear {
  const otherwise = tearing(inner);
  const committed = join(path, '.writer/committed');
  const inode = () => statSync(committed, { throwIfNoEntry: false })?.ino;
  return async (operation, args) => {
    if (operation === 'upload' || operation === 'publish') {
      const bytes = args.at(-1) as Uint8Array;
      writeFileSync(join(path, '.writer/new-torn'), bytes.subarray(0, bytes.length / 2));
    } else if (operation === 'replaceCheckpoint') {
      const [before, old] = [inode(), readFileSync(committed)];
      await inner.replaceCheckpoint(...(args as [Uint8Array | undefined, Uint8Array]));
      const now = readFileSync(committed);
      if (inode() !== before) {
        // It was made anew beside the old one, whose name a rename would have taken.
        writeFileSync(join(path, '.writer/new-torn'), now.subarray(0, now.length / 2));
        writeFileSync(committed, old);
        return;
      }
      for (const at of [pageBytes, pageBytes + slotBytes]) {
        if (now.compare(old, at, at + slotBytes, at, at + slotBytes) === 0) continue;
        old.copy(now, at + 60, at + 60, at + slotBytes);
        writeFileSync(committed, now);
      }
    } else await otherwise(operation, args);
  };
}

/** Kill -9, but not the power going off: what was written stays, synced or not. */
function subjectIn({ path, dispose }: ReturnType<typeof temporaryDirectory>): Subject {
  const log = join(path, 'log');
  return {
    async open() {
      const storage = openDirectoryStorage(log, { journalBytes: 64 * pageBytes });
      return { storage, tear: tearOf(log, storage) };
    },
    reader: readDirectory(log),
    violations: () => [],
    powerFailure: () => {},
    async copy() {
      const directory = temporaryDirectory();
      cpSync(path, directory.path, { recursive: true });
      return subjectIn(directory);
    },
    dispose: async () => dispose(),
  };
}

const run = faultTable(async () => subjectIn(temporaryDirectory()));

test.each(rowsOf(faultModes))('$operation, call $call: $mode', (fault) => run(fault));
