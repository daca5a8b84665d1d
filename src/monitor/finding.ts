import { createHash } from 'node:crypto';

/**
 * What can be wrong with a log, gravest first, each with its exit code. A code keeps its meaning for ever: scripts look at
 * it.
 */
export const findingKinds = {
  /** Two signed heads that cannot belong to one append-only log. */
  fork: 10,
  /** The log shows somebody else another tree. */
  'split-view': 11,
  /** A head that the log's key did not sign. */
  'wrong-signature': 12,
  /** The entries the log hands out are not those its head commits to. */
  'tree-mismatch': 13,
  /** A head that is smaller or older than one seen before. */
  'head-backwards': 14,
  'future-head': 15,
  'stale-head': 16,
  /** A certificate issued when its CA's certificate was not valid. */
  'outside-validity': 17,
  /** A precertificate that is not what the tree has of it, or not its issuer's. */
  'precertificate-mismatch': 18,
  /** An entry that is in the tree and is no certificate that can be read whole. */
  'unreadable-entry': 19,
  /** An answer that is not of the form the log's API has. */
  'malformed-answer': 20,
} as const;

export type FindingKind = keyof typeof findingKinds;

/** One thing that is wrong with a log. */
export interface Finding {
  readonly kind: FindingKind;
  /** What tells it from others of its kind, so that the same thing is not told twice. */
  readonly key: string;
  readonly expected: string;
  readonly found: string;
  /** Of the entry it is about. */
  readonly index?: number;
  /** What proves it to others: signed heads as get-sth shows them, proofs. */
  readonly evidence?: Readonly<Record<string, unknown>>;
}

/** The log's answer is not what its API prescribes. */
export class BadAnswer extends Error {
  override readonly name = 'BadAnswer';
}

/** The log, or what it should deliver, cannot be had now; the next round may do better. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable';
}

/** The monitor is to stop: what was under way is given up, and says nothing about the log. */
export class Stopped extends Error {
  override readonly name = 'Stopped';
}

/** An inconsistency that ends the round: nothing that comes after it can be believed. */
export class Inconsistency extends Error {
  override readonly name = 'Inconsistency';
  readonly finding: Finding;

  constructor(finding: Finding) {
    super(`${finding.kind}: expected ${finding.expected}; found ${finding.found}`);
    this.finding = finding;
  }
}

/** Stable name of an event about a log: 32 hex digits, the same whenever and by whomever it is found. */
export function eventId(logId: Uint8Array, ...parts: readonly (string | number)[]): string {
  return createHash('sha256').update(logId).update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}

/** The exit code for what was found: that of the gravest. */
export function exitCodeOf(kinds: Iterable<FindingKind>): number {
  return [...kinds].reduce((code, kind) => (code === 0 ? findingKinds[kind] : Math.min(code, findingKinds[kind])), 0);
}
