import { type Hash, type NodeReader, nodeHash } from './merkle.js';
import type { LogReader } from './storage.js';
import { type DecodedLeaf, decodeDataTile } from './tile-leaf.js';
import { fullTilePath, hashBytes, type TileKind, tileHeight, tileIn, tilePath, tileWidth } from './tiles.js';

/** Reads tiles of a log, for a tree size whose checkpoint exists; throws Error when one is missing or malformed. */
export interface TileReader {
  /** The hashes in the hash tile `index` of tile level `level`, as many as the tree of `size` has there. */
  hashes(size: number, level: number, index: number): Promise<Hash[]>;
  /** The entries in data tile `index`, as many as the tree of `size` has there. */
  leaves(size: number, index: number): Promise<DecodedLeaf[]>;
  /** Access to the perfect subtrees of the tree of `size`, for proofs. */
  nodes(size: number): NodeReader;
}

/** A tile reader that keeps up to `cached` full hash tiles (8 KiB each) in memory. */
export function openTileReader(log: LogReader, cached = 256): TileReader {
  const cache = new Map<string, Uint8Array>();

  async function fetchTile(size: number, kind: TileKind, index: number): Promise<Uint8Array> {
    const tile = tileIn(size, kind, index);
    if (tile.width === 0) throw new Error(`a tree of size ${size} has no tile ${fullTilePath(kind, index)}`);
    const full = fullTilePath(kind, index);
    const hit = cache.get(full);
    if (hit !== undefined) return touch(full, hit);
    const path = tilePath(tile);
    const exact = await log.fetch(path);
    // Partial tiles go away once the full one is there (static-ct-api, "Partial Tiles").
    const bytes = exact ?? (path === full ? undefined : await log.fetch(full));
    if (bytes === undefined) throw new Error(`${path} is missing from ${log.name}`);
    if (kind !== 'data' && bytes.length === tileWidth * hashBytes) touch(full, bytes);
    return bytes;
  }

  function touch(path: string, bytes: Uint8Array): Uint8Array {
    cache.delete(path);
    cache.set(path, bytes);
    const [oldest] = cache.keys();
    if (cache.size > cached && oldest !== undefined) cache.delete(oldest);
    return bytes;
  }

  async function hashes(size: number, level: number, index: number): Promise<Hash[]> {
    const tile = tileIn(size, level, index);
    const { width } = tile;
    const bytes = await fetchTile(size, level, index);
    if (bytes.length < width * hashBytes || bytes.length % hashBytes !== 0) {
      throw new Error(`${tilePath(tile)} is ${bytes.length} bytes long; expected ${width * hashBytes}`);
    }
    return Array.from({ length: width }, (_, i) => bytes.subarray(i * hashBytes, (i + 1) * hashBytes));
  }

  return {
    hashes,
    async leaves(size, index) {
      const tile = tileIn(size, 'data', index);
      const { width } = tile;
      const leaves = decodeDataTile(await fetchTile(size, 'data', index));
      if (leaves.length < width) {
        throw new Error(`${tilePath(tile)} holds ${leaves.length} entries; expected ${width}`);
      }
      return leaves.slice(0, width);
    },
    nodes: (size) => async (level, index) => {
      const height = level % tileHeight;
      const first = index * 2 ** height;
      const tile = await hashes(size, Math.floor(level / tileHeight), Math.floor(first / tileWidth));
      const offset = first % tileWidth;
      return perfectRoot(tile.slice(offset, offset + 2 ** height), 2 ** height);
    },
  };
}

function perfectRoot(hashes: readonly Hash[], expected: number): Hash {
  if (hashes.length !== expected) throw new RangeError('the subtree is not complete in this tree');
  let row = hashes;
  while (row.length > 1) {
    const next: Hash[] = [];
    for (let i = 0; i + 1 < row.length; i += 2) {
      const [left, right] = [row[i], row[i + 1]];
      if (left !== undefined && right !== undefined) next.push(nodeHash(left, right));
    }
    row = next;
  }
  const [root] = row;
  if (root === undefined) throw new RangeError('a subtree has at least one leaf');
  return root;
}
