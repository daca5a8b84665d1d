import { createHash } from 'node:crypto';

/**
 * The Merkle tree of RFC 6962 Section 2.1 once more, written from its definitions and without the code of src/ctlog,
 * which it judges.
 */

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

export const leafHashOf = (merkleTreeLeaf: Uint8Array): Buffer => sha256(Buffer.of(0), merkleTreeLeaf);
const nodeHashOf = (left: Uint8Array, right: Uint8Array): Buffer => sha256(Buffer.of(1), left, right);

/** The largest power of two below n. */
function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** A tree that grows leaf by leaf and knows its root at every size; keeps one hash for each bit of the size. */
export class GrowingTree {
  #size = 0;
  /** Roots of the perfect subtrees, largest first. */
  readonly #peaks: { size: number; hash: Uint8Array }[] = [];

  get size(): number {
    return this.#size;
  }

  add(leafHash: Uint8Array): void {
    this.#size += 1;
    this.#peaks.push({ size: 1, hash: leafHash });
    for (;;) {
      const [left, right] = this.#peaks.slice(-2);
      if (left === undefined || right === undefined || left.size !== right.size) return;
      this.#peaks.splice(-2, 2, { size: left.size * 2, hash: nodeHashOf(left.hash, right.hash) });
    }
  }

  root(): Uint8Array {
    const [last, ...larger] = this.#peaks.map(({ hash }) => hash).reverse();
    if (last === undefined) return sha256();
    return larger.reduce((right, left) => nodeHashOf(left, right), last);
  }
}

/** The root that PATH(index, D[size]) leads to from a leaf's hash: Section 2.1.1 read backwards. */
export function rootOfPath(index: number, size: number, leafHash: Uint8Array, path: readonly Uint8Array[]): Uint8Array {
  if (size === 1) {
    if (path.length > 0) throw new Error('the audit path is too long');
    return leafHash;
  }
  const sibling = path.at(-1);
  if (sibling === undefined) throw new Error('the audit path is too short');
  const k = split(size);
  const rest = path.slice(0, -1);
  return index < k
    ? nodeHashOf(rootOfPath(index, k, leafHash, rest), sibling)
    : nodeHashOf(sibling, rootOfPath(index - k, size - k, leafHash, rest));
}

interface Roots {
  readonly first: Uint8Array;
  readonly second: Uint8Array;
}

/** The two roots that PROOF(first, D[second]) leads to when the first is `firstRoot`: Section 2.1.2 read backwards. */
export function rootsOfProof(
  first: number,
  second: number,
  firstRoot: Uint8Array,
  proof: readonly Uint8Array[],
): Roots {
  const rest = [...proof];
  const take = (): Uint8Array => {
    const hash = rest.pop();
    if (hash === undefined) throw new Error('the consistency proof is too short');
    return hash;
  };
  const subproof = (m: number, n: number, whole: boolean): Roots => {
    if (m === n) {
      const hash = whole ? firstRoot : take();
      return { first: hash, second: hash };
    }
    const k = split(n);
    const sibling = take();
    if (m <= k) {
      const { first: old, second: left } = subproof(m, k, whole);
      return { first: old, second: nodeHashOf(left, sibling) };
    }
    const { first: old, second: right } = subproof(m - k, n - k, false);
    return { first: nodeHashOf(sibling, old), second: nodeHashOf(sibling, right) };
  };
  const roots = subproof(first, second, true);
  if (rest.length > 0) throw new Error('the consistency proof is too long');
  return roots;
}
