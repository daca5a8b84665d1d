import { hash } from 'node:crypto';

/**
 * The Merkle tree of RFC 6962 Section 2.1: hashes, roots and proofs. Pure; where the hashes are stored is the caller's
 * business. Sizes and indexes are integers below 2^40, as static-ct-api has them.
 */

/** A 32-byte SHA-256 value. */
export type Hash = Uint8Array;

/** The hash of the perfect subtree over leaves [index * 2^level, (index + 1) * 2^level). */
export type NodeReader = (level: number, index: number) => Promise<Hash>;

/** A contiguous, perfect subtree. */
interface Subtree {
  readonly level: number;
  readonly index: number;
}

const leafPrefix = Uint8Array.of(0);
const nodePrefix = Uint8Array.of(1);

/** MTH({}) (RFC 6962 Section 2.1). */
export const emptyRoot: Hash = sha256();

/** In one call: a Hash object takes longer to make than such short input to hash. */
function sha256(...parts: readonly Uint8Array[]): Hash {
  return hash('sha256', Buffer.concat(parts), 'buffer');
}

/** MTH({d(0)}) of one leaf's MerkleTreeLeaf bytes. */
export function leafHash(leaf: Uint8Array): Hash {
  return sha256(leafPrefix, leaf);
}

/** The hash of an inner node. */
export function nodeHash(left: Hash, right: Hash): Hash {
  return sha256(nodePrefix, left, right);
}

/** The largest power of two smaller than n, for n > 1: where RFC 6962 splits a tree. */
export function splitPoint(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** The perfect subtrees that cover leaves [from, to), left to right, where `from` is a multiple of the largest. */
function cover(from: number, to: number): Subtree[] {
  const subtrees: Subtree[] = [];
  let start = from;
  while (start < to) {
    const level = Math.floor(Math.log2(to - start));
    subtrees.push({ level, index: start / 2 ** level });
    start += 2 ** level;
  }
  return subtrees;
}

/** One hash from the roots of perfect subtrees of falling size: MTH over all of them. */
function fold(hashes: readonly Hash[]): Hash {
  const last = hashes.at(-1);
  if (last === undefined) return emptyRoot;
  return hashes.slice(0, -1).reduceRight((right, left) => nodeHash(left, right), last);
}

async function rangeHash(from: number, to: number, read: NodeReader): Promise<Hash> {
  return fold(await Promise.all(cover(from, to).map(({ level, index }) => read(level, index))));
}

/** MTH of the first `size` leaves. */
export function treeRoot(size: number, read: NodeReader): Promise<Hash> {
  return rangeHash(0, size, read);
}

function requireRange(name: string, value: number, low: number, high: number): void {
  if (!Number.isSafeInteger(value) || value < low || value > high) {
    throw new RangeError(`${name} is ${value}; expected ${low} to ${high}`);
  }
}

/**
 * PATH(index, D[size]): the audit path from the leaf's sibling up (RFC 6962 Section 2.1.1). Throws RangeError unless
 * 0 <= index < size.
 */
export async function inclusionProof(index: number, size: number, read: NodeReader): Promise<Hash[]> {
  requireRange('leaf index', index, 0, size - 1);
  const ranges: [number, number][] = [];
  let [from, to] = [0, size];
  while (to - from > 1) {
    const middle = from + splitPoint(to - from);
    ranges.push(index < middle ? [middle, to] : [from, middle]);
    [from, to] = index < middle ? [from, middle] : [middle, to];
  }
  return Promise.all(ranges.reverse().map(([low, high]) => rangeHash(low, high, read)));
}

/**
 * PROOF(first, D[second]) (RFC 6962 Section 2.1.2), empty when the sizes are equal. Throws RangeError unless
 * 0 < first <= second.
 */
export async function consistencyProof(first: number, second: number, read: NodeReader): Promise<Hash[]> {
  requireRange('first tree size', first, 1, second);
  const ranges: [number, number][] = [];
  let [from, to] = [0, second];
  while (first !== to) {
    const middle = from + splitPoint(to - from);
    ranges.push(first <= middle ? [middle, to] : [from, middle]);
    [from, to] = first <= middle ? [from, middle] : [middle, to];
  }
  if (from !== 0) ranges.push([from, to]);
  return Promise.all(ranges.reverse().map(([low, high]) => rangeHash(low, high, read)));
}

/** Whether `proof` shows that the leaf with hash `leaf` stands at `index` of the tree (RFC 9162 Section 2.1.3.2). */
export function verifyInclusion(index: number, size: number, leaf: Hash, proof: readonly Hash[], root: Hash): boolean {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return false;
  let [node, last, hash] = [index, size - 1, leaf];
  for (const sibling of proof) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(sibling, hash);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, Math.floor(last / 2)];
    } else {
      hash = nodeHash(hash, sibling);
    }
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  }
  return last === 0 && sameHash(hash, root);
}

/** Two tree heads and the proof between them. */
export interface ConsistencyClaim {
  readonly first: number;
  readonly second: number;
  readonly firstRoot: Hash;
  readonly secondRoot: Hash;
  readonly proof: readonly Hash[];
}

/** Whether the second tree is an extension of the first (RFC 9162 Section 2.1.4.2); an empty first tree always is. */
export function verifyConsistency(claim: ConsistencyClaim): boolean {
  const { first, second, firstRoot, secondRoot, proof } = claim;
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(second) || first < 0 || first > second) return false;
  if (first === second) return proof.length === 0 && sameHash(firstRoot, secondRoot);
  if (first === 0) return proof.length === 0 && sameHash(firstRoot, emptyRoot);
  const path = isPowerOfTwo(first) ? [firstRoot, ...proof] : proof;
  const [start, ...rest] = path;
  if (start === undefined || proof.length === 0) return false;
  let [node, last] = [first - 1, second - 1];
  while (node % 2 === 1) [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  let [old, current] = [start, start];
  for (const sibling of rest) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      old = nodeHash(sibling, old);
      current = nodeHash(sibling, current);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, Math.floor(last / 2)];
    } else {
      current = nodeHash(current, sibling);
    }
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  }
  return last === 0 && sameHash(old, firstRoot) && sameHash(current, secondRoot);
}

function isPowerOfTwo(n: number): boolean {
  return Number.isInteger(Math.log2(n));
}

/** Whether two hashes are equal; they are public, so the comparison need not take constant time. */
export function sameHash(a: Hash, b: Hash): boolean {
  return Buffer.compare(a, b) === 0;
}

/**
 * The roots of the perfect subtrees that a tree of some size decomposes into, by falling size: all that appending and
 * computing the root need. Immutable.
 */
export interface Peaks {
  readonly size: number;
  readonly hashes: readonly Hash[];
}

export const noPeaks: Peaks = { size: 0, hashes: [] };

/** The peaks of a stored tree. */
export async function readPeaks(size: number, read: NodeReader): Promise<Peaks> {
  return { size, hashes: await Promise.all(cover(0, size).map(({ level, index }) => read(level, index))) };
}

/** The root of the tree with these peaks. */
export function peaksRoot(peaks: Peaks): Hash {
  return fold(peaks.hashes);
}

/**
 * Appends leaf hashes, one node hash per leaf on average. `completed` is told every perfect subtree that arises, in
 * order, the leaves (level 0) among them.
 */
export function appendLeaves(
  peaks: Peaks,
  leaves: readonly Hash[],
  completed: (level: number, hash: Hash) => void,
): Peaks {
  const hashes = [...peaks.hashes];
  let size = peaks.size;
  for (const leaf of leaves) {
    let [hash, level, rest] = [leaf, 0, size];
    completed(level, hash);
    for (; rest % 2 === 1; rest = Math.floor(rest / 2)) {
      const left = hashes.pop();
      if (left === undefined) throw new RangeError(`a tree of size ${size} has more peaks than were given`);
      hash = nodeHash(left, hash);
      level += 1;
      completed(level, hash);
    }
    hashes.push(hash);
    size += 1;
  }
  return { size, hashes };
}
