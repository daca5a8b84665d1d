import { createHash } from 'node:crypto';
import type { TreeHead } from './checkpoint.js';
import { type Finding, fetchTile } from './fsck-files.js';
import { checkpointPath, type LogReader } from './storage.js';
import { hashBytes, tileWidth } from './tiles.js';

/** A hash, or undefined where an entry below it could not be read. */
type Known = Uint8Array | undefined;

/** The tree over the entries, rebuilt level by level; a row holds what does not fill a tile yet. */
export class TreeCheck {
  readonly #reader: LogReader;
  readonly #report: (finding: Finding) => void;
  readonly #rows: { hashes: Known[]; tiles: number }[] = [];
  tiles = 0;

  constructor(reader: LogReader, report: (finding: Finding) => void) {
    this.#reader = reader;
    this.#report = report;
  }

  /** The leaf hashes of the next tile. */
  async add(hashes: readonly Known[], level = 0): Promise<void> {
    const row = this.#rows[level] ?? { hashes: [], tiles: 0 };
    this.#rows[level] = row;
    row.hashes.push(...hashes);
    if (row.hashes.length < tileWidth) return;
    await this.#compare(level, row.tiles, row.hashes);
    const above = treeHash(row.hashes);
    row.hashes = [];
    row.tiles += 1;
    await this.add([above], level + 1);
  }

  /** Compares the partial tiles and the root hash. */
  async finish(head: TreeHead): Promise<void> {
    for (const [level, row] of this.#rows.entries()) {
      if (row.hashes.length > 0) await this.#compare(level, row.tiles, row.hashes);
    }
    // What lies right of the full tiles of a level is one subtree, smaller than any of them: RFC 6962 splits before it.
    let right: readonly Known[] = [];
    for (const row of this.#rows) {
      const hashes = [...row.hashes, ...right];
      right = hashes.length === 0 ? [] : [treeHash(hashes)];
    }
    const root = right.length === 0 ? createHash('sha256').digest() : right[0];
    if (root === undefined || Buffer.compare(root, head.root) === 0) return;
    const expected = `root hash ${hex(root)}, which its ${head.size} entries give`;
    this.#report({ file: checkpointPath, expected, found: `root hash ${hex(head.root)}` });
  }

  async #compare(level: number, index: number, hashes: readonly Known[]): Promise<void> {
    this.tiles += 1;
    const { length: width } = hashes;
    const fetched = await fetchTile(this.#reader, level, index, width);
    const { path: file, bytes } = fetched;
    if (bytes === undefined) {
      return this.#report({ file, expected: `a tile of ${width} hashes`, found: fetched.problem });
    }
    const size = (file.includes('.p/') ? width : tileWidth) * hashBytes;
    if (bytes.length !== size) {
      return this.#report({ file, expected: `${size} bytes`, found: `${bytes.length} bytes` });
    }
    const differing = hashes.flatMap((hash, i) => {
      const found = bytes.subarray(i * hashBytes, (i + 1) * hashBytes);
      return hash === undefined || Buffer.compare(hash, found) === 0 ? [] : [{ i, hash, found }];
    });
    const [first] = differing;
    if (first === undefined) return;
    const others = differing.length === 1 ? '' : `, and ${differing.length - 1} more hashes differ`;
    const expected = `hash ${first.i} to be ${hex(first.hash)}, which the entries below it give`;
    this.#report({ file, expected, found: `${hex(first.found)}${others}` });
  }
}

/** SHA-256 with the domain separation of RFC 6962 Section 2.1: prefix 0 for a leaf, 1 for a node. */
export function sha256(prefix: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256').update(Uint8Array.of(prefix));
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** MTH of RFC 6962 Section 2.1, word for word, over one hash or more. */
function treeHash(hashes: readonly Known[]): Known {
  if (hashes.length <= 1) return hashes[0];
  let k = 1;
  while (k * 2 < hashes.length) k *= 2;
  const [left, right] = [treeHash(hashes.slice(0, k)), treeHash(hashes.slice(k))];
  return left && right && sha256(1, left, right);
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
