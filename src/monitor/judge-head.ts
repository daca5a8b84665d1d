import type { SignedTreeHead } from '../ctlog/checkpoint.js';
import { sameHash, verifyConsistency } from '../ctlog/merkle.js';
import { messageOf } from '../errors.js';
import { headText, iso } from './events.js';
import { BadAnswer, type Finding, Inconsistency, Unavailable } from './finding.js';
import { treeHeadJson } from './rfc6962-source.js';
import type { LogSource } from './source.js';

/** How far a log's clock may be ahead of ours. */
const maxFutureMs = 5 * 60_000;

/** What a head says of its time that it should not; `now` and `maxAgeMs` in milliseconds. */
export function timeFindings(head: SignedTreeHead, now: number, maxAgeMs: number): Finding[] {
  const found = `a head of ${iso(head.timestamp)}`;
  if (head.timestamp > now + maxFutureMs) {
    return [{ kind: 'future-head', key: 'future', expected: `a head that is not after ${iso(now)}`, found }];
  }
  if (now - head.timestamp <= maxAgeMs) return [];
  return [{ kind: 'stale-head', key: 'stale', expected: `a head after ${iso(now - maxAgeMs)}`, found }];
}

/**
 * Compares a head with the last one, both signed by the log. Resolves with what is wrong with the new one: something when it
 * is older and no more; throws Inconsistency when no append-only log can have signed both.
 */
export async function compareHeads(
  known: SignedTreeHead,
  head: SignedTreeHead,
  source: LogSource,
): Promise<Finding | undefined> {
  if (head.size === known.size) {
    if (!sameHash(head.root, known.root)) throw fork(known, head);
    return undefined;
  }
  const backwards = (more: string): Finding => ({
    kind: 'head-backwards',
    key: 'backwards',
    expected: `a head not before ${headText(known)}`,
    found: `${headText(head)}${more}`,
    evidence: { known: treeHeadJson(known), head: treeHeadJson(head) },
  });
  if (head.size > known.size) {
    await requireConsistent(known, head, source);
    return head.timestamp < known.timestamp ? backwards(', which is larger and older') : undefined;
  }
  try {
    await requireConsistent(known, head, source);
    return backwards(', an earlier state of the same tree');
  } catch (error) {
    if (!(error instanceof BadAnswer) && !(error instanceof Unavailable)) throw error;
    return backwards(`, of which the log does not prove that it is part of the larger tree (${messageOf(error)})`);
  }
}

/** Throws Inconsistency `fork` unless the log proves that the larger tree contains the smaller one. */
async function requireConsistent(known: SignedTreeHead, head: SignedTreeHead, source: LogSource): Promise<void> {
  const [first, second] = known.size <= head.size ? [known, head] : [head, known];
  const proof = first.size === 0 ? [] : await source.tree(second).consistencyProof(first.size, second.size);
  if (isConsistent(first, second, proof)) return;
  throw fork(known, head, proof);
}

/** Whether `proof` shows that the second tree contains the first one. */
export function isConsistent(
  first: Pick<SignedTreeHead, 'size' | 'root'>,
  second: Pick<SignedTreeHead, 'size' | 'root'>,
  proof: readonly Uint8Array[],
): boolean {
  return verifyConsistency({
    first: first.size,
    second: second.size,
    firstRoot: first.root,
    secondRoot: second.root,
    proof,
  });
}

/** Two signed heads that exclude each other, as evidence that anybody can check with the log's key. */
export function fork(known: SignedTreeHead, head: SignedTreeHead, proof?: readonly Uint8Array[]): Inconsistency {
  return new Inconsistency({
    kind: 'fork',
    // Not the other head, which may grow and change every minute.
    key: `${known.size}:${Buffer.from(known.root).toString('hex')}`,
    expected: `a tree that agrees with ${headText(known)}`,
    found: proof === undefined ? headText(head) : `${headText(head)}, and no proof between them`,
    evidence: {
      known: treeHeadJson(known),
      head: treeHeadJson(head),
      ...(proof === undefined ? {} : { proof: proof.map((hash) => Buffer.from(hash).toString('base64')) }),
    },
  });
}
