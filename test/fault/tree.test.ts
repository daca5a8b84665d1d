import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { consistencyProof, inclusionProof, type NodeReader } from '../../src/ctlog/merkle.js';
import { GrowingTree, leafHashOf, rootOfPath, rootsOfProof } from './tree.js';

const leaves = Array.from({ length: 70 }, (_, i) => leafHashOf(Buffer.of(i)));

/** MTH of leaves [from, to) of Section 2.1, word for word. */
function treeHash(from: number, to: number): Uint8Array {
  const [only] = leaves.slice(from, to);
  if (to - from <= 1) return only ?? createHash('sha256').digest();
  let k = 1;
  while (k * 2 < to - from) k *= 2;
  const parts = [Buffer.of(1), treeHash(from, from + k), treeHash(from + k, to)];
  return createHash('sha256').update(Buffer.concat(parts)).digest();
}

const read: NodeReader = async (level, index) => treeHash(index * 2 ** level, (index + 1) * 2 ** level);

test('a growing tree has the root of the recursive definition at every size', () => {
  const tree = new GrowingTree();
  expect(Buffer.from(tree.root())).toEqual(Buffer.from(treeHash(0, 0)));
  for (const leaf of leaves) {
    tree.add(leaf);
    expect(Buffer.from(tree.root())).toEqual(Buffer.from(treeHash(0, tree.size)));
  }
});

test('an inclusion proof leads to the root of its size, and no further with a hash more or less', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: leaves.length }), fc.nat(), async (size, at) => {
      const index = at % size;
      const leaf = leaves[index] ?? Buffer.of();
      const path = await inclusionProof(index, size, read);
      expect(Buffer.from(rootOfPath(index, size, leaf, path))).toEqual(Buffer.from(treeHash(0, size)));
      expect(() => rootOfPath(index, size, leaf, [...path, leaf])).toThrow('too long');
      if (path.length > 0) expect(() => rootOfPath(index, size, leaf, path.slice(1))).toThrow('too short');
    }),
  );
});

test('a consistency proof leads to both roots', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: leaves.length }), fc.nat(), async (second, at) => {
      const first = 1 + (at % second);
      const proof = await consistencyProof(first, second, read);
      const roots = rootsOfProof(first, second, treeHash(0, first), proof);
      expect(Buffer.from(roots.first)).toEqual(Buffer.from(treeHash(0, first)));
      expect(Buffer.from(roots.second)).toEqual(Buffer.from(treeHash(0, second)));
      if (proof.length > 0) expect(() => rootsOfProof(first, second, treeHash(0, first), proof.slice(1))).toThrow();
    }),
  );
});
