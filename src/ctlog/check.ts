import type { KeyObject } from 'node:crypto';
import type { TimestampedEntry } from '../ct/leaf.js';
import { readDirectory } from './directory-storage.js';
import { fsckLog } from './fsck.js';
import type { LogReader } from './storage.js';

/** One entry of a checked log. */
export interface CheckedLeaf {
  readonly index: number;
  readonly entry: TimestampedEntry;
  readonly precertificate: Uint8Array | undefined;
}

export interface CheckedLog {
  readonly size: number;
  readonly root: Uint8Array;
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
  readonly leaves: readonly CheckedLeaf[];
}

/** What `checkLog` found wrong; the message names the file, what was expected in it and what was found. */
export class LogCheckError extends Error {
  override readonly name = 'LogCheckError';
}

/**
 * Checks a whole log as `fsckLog` does and gives back its entries, all in memory. `log` is a directory or a reader;
 * throws LogCheckError at the first thing that is wrong.
 */
export async function checkLog(log: string | LogReader, logKey: KeyObject, origin: string): Promise<CheckedLog> {
  const reader = typeof log === 'string' ? readDirectory(log) : log;
  const leaves: CheckedLeaf[] = [];
  const summary = await fsckLog(reader, {
    logKey,
    origin,
    report({ file, expected, found }) {
      throw new LogCheckError(`${file}: expected ${expected}; found ${found}`);
    },
    onLeaf: ({ timestampedEntry, precertificate }, index) =>
      leaves.push({ index, entry: timestampedEntry, precertificate }),
  });
  if (summary === undefined) throw new LogCheckError(`${reader.name} has no checkpoint`);
  return { size: summary.size, root: summary.root, timestamp: summary.timestamp, leaves };
}
