import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import {
  appendLeaves,
  consistencyProof,
  emptyRoot,
  type Hash,
  inclusionProof,
  leafHash,
  type NodeReader,
  nodeHash,
  noPeaks,
  peaksRoot,
  readPeaks,
  treeRoot,
  verifyConsistency,
  verifyInclusion,
} from '../../src/ctlog/merkle.js';

const bytes = (hex: string) => Buffer.from(hex, 'hex');

/** The eight leaves of the test vectors of RFC 6962's reference implementation. */
const leaves = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'].map(
  (hex) => leafHash(bytes(hex)),
);

const roots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

/** Node access by recomputation, apart from the code that stores tiles. */
function readerOf(hashes: readonly Hash[]): NodeReader {
  return async (level, index) => {
    let row = hashes.slice(index * 2 ** level, (index + 1) * 2 ** level);
    expect(row).toHaveLength(2 ** level);
    while (row.length > 1) {
      row = row.flatMap((hash, i) => (i % 2 === 1 ? [nodeHash(row[i - 1] as Hash, hash)] : []));
    }
    return row[0] as Hash;
  };
}

test.each(roots.map((root, size) => [size, root] as const))('the root of the first %i leaves', async (size, root) => {
  expect(Buffer.from(await treeRoot(size, readerOf(leaves))).toString('hex')).toBe(root);
  const peaks = appendLeaves(noPeaks, leaves.slice(0, size), () => {});
  expect(Buffer.from(peaksRoot(peaks)).toString('hex')).toBe(root);
});

test('the audit path of RFC 6962 for leaf 5 of 8', async () => {
  const path = await inclusionProof(5, 8, readerOf(leaves));
  expect(path.map((hash) => Buffer.from(hash).toString('hex'))).toEqual([
    'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  ]);
});

test('the consistency proof of RFC 6962 from 6 to 8', async () => {
  const proof = await consistencyProof(6, 8, readerOf(leaves));
  expect(proof.map((hash) => Buffer.from(hash).toString('hex'))).toEqual([
    '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
    'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  ]);
});

const random = Array.from({ length: 600 }, () => randomBytes(32));
const sizes = fc.integer({ min: 1, max: random.length });

test('an inclusion proof verifies, for its own leaf, index and root only', async () => {
  await fc.assert(
    fc.asyncProperty(sizes, fc.nat(), fc.nat(), async (size, at, other) => {
      const index = at % size;
      const root = await treeRoot(size, readerOf(random));
      const proof = await inclusionProof(index, size, readerOf(random));
      const leaf = random[index] as Hash;
      expect(verifyInclusion(index, size, leaf, proof, root)).toBe(true);
      const wrong = other % size;
      if (wrong !== index) expect(verifyInclusion(wrong, size, leaf, proof, root)).toBe(false);
      expect(verifyInclusion(index, size, randomBytes(32), proof, root)).toBe(false);
      expect(verifyInclusion(index, size, leaf, [...proof, leaf], root)).toBe(false);
      if (size > 1) expect(verifyInclusion(index, size, leaf, proof.slice(1), root)).toBe(false);
    }),
    { numRuns: 60 },
  );
});

test('a consistency proof verifies, for its own trees only', async () => {
  await fc.assert(
    fc.asyncProperty(sizes, sizes, async (a, b) => {
      const [first, second] = [Math.min(a, b), Math.max(a, b)];
      const [firstRoot, secondRoot] = await Promise.all(
        [a, b].sort((x, y) => x - y).map((n) => treeRoot(n, readerOf(random))),
      );
      const proof = await consistencyProof(first, second, readerOf(random));
      const claim = { first, second, firstRoot: firstRoot as Hash, secondRoot: secondRoot as Hash, proof };
      expect(verifyConsistency(claim)).toBe(true);
      expect(verifyConsistency({ ...claim, firstRoot: randomBytes(32) })).toBe(false);
      expect(verifyConsistency({ ...claim, secondRoot: randomBytes(32) })).toBe(false);
      expect(verifyConsistency({ ...claim, proof: [...proof, randomBytes(32)] })).toBe(false);
    }),
    { numRuns: 60 },
  );
});

test('appending in any portions gives the peaks of the whole', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 12 }), async (portions) => {
      let peaks = noPeaks;
      for (const portion of portions)
        peaks = appendLeaves(peaks, random.slice(peaks.size, peaks.size + portion), () => {});
      expect(peaks).toEqual(await readPeaks(peaks.size, readerOf(random)));
    }),
    { numRuns: 40 },
  );
});

test.each([
  ['an index outside of the tree', () => inclusionProof(3, 3, readerOf(leaves))],
  ['a negative index', () => inclusionProof(-1, 3, readerOf(leaves))],
  ['a fraction', () => inclusionProof(0.5, 3, readerOf(leaves))],
  ['consistency from the empty tree', () => consistencyProof(0, 3, readerOf(leaves))],
  ['consistency with a smaller tree', () => consistencyProof(4, 3, readerOf(leaves))],
])('there is no proof for %s', async (_, prove) => {
  await expect(prove()).rejects.toThrow(RangeError);
});

test('the empty tree is consistent with every tree', () => {
  const claim = { first: 0, second: 3, firstRoot: emptyRoot, secondRoot: random[0] as Hash, proof: [] };
  expect(verifyConsistency(claim)).toBe(true);
  expect(verifyConsistency({ ...claim, firstRoot: random[1] as Hash })).toBe(false);
});
