import type { KeyObject } from 'node:crypto';
import type { TimestampedEntry } from '../ct/leaf.js';
import type { SignedTreeHead } from '../ctlog/checkpoint.js';
import type { Hash, Peaks } from '../ctlog/merkle.js';

/** What kind of API a log has. */
export type LogType = 'static-ct' | 'rfc6962';

/** One entry as the log hands it out; nothing of it is believed before it was found in the tree. */
export interface LogEntry {
  readonly index: number;
  readonly leafHash: Hash;
  /** Undefined when the leaf cannot be decoded; `problem` then says why. */
  readonly entry: TimestampedEntry | undefined;
  readonly problem: string | undefined;
  /** DER; beside the tree, which has no hash of it. */
  readonly precertificate: Uint8Array | undefined;
  /** DER of the first certificate of its chain, which the tree has no hash of; undefined when there is none. */
  readonly issuer: () => Promise<Uint8Array | undefined>;
}

/** A signed head, and who it says it is of. */
export interface LogHead {
  readonly head: SignedTreeHead;
  /** Of a checkpoint. */
  readonly origin: string | undefined;
}

/**
 * A log, read over the network. Every method throws BadAnswer for an answer that is not of the API's form, and Unavailable
 * when there is none.
 */
export interface LogSource {
  readonly type: LogType;
  readonly url: string;
  /** The newest head as it came. */
  fetchHead(): Promise<Uint8Array>;
  /** Parses a head and checks its signature; throws CheckpointError. `origin` undefined: the one it names. */
  openHead(bytes: Uint8Array, key: KeyObject, origin: string | undefined): LogHead;
  /** What is known of the tree with this head. */
  tree(head: SignedTreeHead): LogTree;
}

/** The entries and proofs of the tree of one head. */
export interface LogTree {
  /** The entries [from, head size) in their order, some at a time. */
  entries(from: number): AsyncIterable<readonly LogEntry[]>;
  /** PROOF(first, D[second]), second at most the head's size (RFC 6962 Section 2.1.2). */
  consistencyProof(first: number, second: number): Promise<readonly Hash[]>;
  /** The peaks of the first `size` entries, not proven. */
  peaks(size: number): Promise<Peaks>;
}

/** Bytes of a data tile or an answer to get-entries: 256 entries of some kilobytes; this keeps an endless one out. */
export const maxEntriesBytes = 32 * 1024 * 1024;
/** Bytes of anything else. */
export const maxSmallBytes = 256 * 1024;
export const readAhead = 4;

/** The results of the tasks in their order, up to `readAhead` of them under way. */
export async function* ahead<T>(tasks: Iterable<() => Promise<T>>): AsyncIterable<T> {
  const running: Promise<T>[] = [];
  try {
    for (const task of tasks) {
      const promise = task();
      // Awaited in its turn: until then a failure is not unhandled.
      promise.catch(() => {});
      running.push(promise);
      if (running.length < readAhead) continue;
      const first = running.shift();
      if (first !== undefined) yield await first;
    }
    for (const promise of running.splice(0)) yield await promise;
  } finally {
    await Promise.allSettled(running);
  }
}
