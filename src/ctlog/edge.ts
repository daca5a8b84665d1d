import { appendLeaves, type Hash, noPeaks, type Peaks, peaksRoot, readPeaks, sameHash } from './merkle.js';
import type { EncodedLeaf } from './tile-leaf.js';
import { hashOf } from './tile-leaf.js';
import type { TileReader } from './tile-reader.js';
import { partialTileDir, partialTiles, type Tile, type TileKind, tileIn, tilePath, tileWidth } from './tiles.js';

/** The right edge of a tree: all that appending to it needs, at most a few partial tiles. Immutable. */
export interface Edge {
  readonly peaks: Peaks;
  /** By tile level, the hashes of the partial tile at the right edge. */
  readonly hashTiles: readonly (readonly Hash[])[];
  /** The TileLeaf structs of the partial data tile. */
  readonly entries: readonly Uint8Array[];
}

export const emptyEdge: Edge = { peaks: noPeaks, hashTiles: [], entries: [] };

/** A tile to be written: its parts are to be concatenated, which is left until it is needed. */
export interface TileWrite {
  readonly tile: Tile;
  readonly path: string;
  readonly parts: readonly Uint8Array[];
}

/** What appending did. */
export interface Growth {
  readonly edge: Edge;
  readonly tiles: readonly TileWrite[];
  /** Folders of partial tiles that have a full tile now. */
  readonly filled: readonly string[];
}

/** The root of the tree that ends in this edge. */
export function edgeRoot(edge: Edge): Hash {
  return peaksRoot(edge.peaks);
}

/** Appends leaves; the work is proportional to them, not to the tree. */
export function extendEdge(edge: Edge, leaves: readonly EncodedLeaf[]): Growth {
  const columns = new Columns(edge);
  const hashes = leaves.map((leaf) => {
    columns.push('data', leaf.bytes);
    return leaf.hash;
  });
  const peaks = appendLeaves(edge.peaks, hashes, (level, hash) => {
    if (level % 8 === 0) columns.push(level / 8, hash);
  });
  return columns.grown(peaks);
}

/** The tiles being filled, one column for the data tile and one for each tile level. */
class Columns {
  readonly #size: number;
  readonly #columns = new Map<TileKind, { items: Uint8Array[]; index: number; changed: boolean }>();
  readonly #tiles: TileWrite[] = [];
  readonly #filled: string[] = [];

  constructor(edge: Edge) {
    this.#size = edge.peaks.size;
    this.#open('data', edge.entries);
    edge.hashTiles.forEach((hashes, level) => {
      this.#open(level, hashes);
    });
  }

  #open(kind: TileKind, items: readonly Uint8Array[]) {
    const level = kind === 'data' ? 0 : kind;
    const column = { items: [...items], index: Math.floor(this.#size / tileWidth ** (level + 1)), changed: false };
    this.#columns.set(kind, column);
    return column;
  }

  push(kind: TileKind, item: Uint8Array): void {
    const column = this.#columns.get(kind) ?? this.#open(kind, []);
    column.items.push(item);
    column.changed = true;
    if (column.items.length < tileWidth) return;
    this.#write({ kind, index: column.index, width: tileWidth }, column.items);
    this.#filled.push(partialTileDir(kind, column.index));
    column.items = [];
    column.index += 1;
  }

  #write(tile: Tile, parts: readonly Uint8Array[]): void {
    this.#tiles.push({ tile, path: tilePath(tile), parts });
  }

  grown(peaks: Peaks): Growth {
    const hashTiles: Hash[][] = [];
    for (const [kind, { items, index, changed }] of this.#columns) {
      if (kind !== 'data') hashTiles[kind] = items;
      if (changed && items.length > 0) {
        this.#write({ kind, index, width: items.length }, items);
      }
    }
    const entries = this.#columns.get('data')?.items ?? [];
    return { edge: { peaks, hashTiles, entries }, tiles: this.#tiles, filled: this.#filled };
  }
}

/** What the edge holds of a tile: its hashes or entries so far; undefined when it is not at the edge. */
export function partsOf(edge: Edge, kind: TileKind, index: number): readonly Uint8Array[] | undefined {
  const { width } = tileIn(edge.peaks.size, kind, index);
  if (width === 0 || width === tileWidth) return undefined;
  return kind === 'data' ? edge.entries : edge.hashTiles[kind];
}

/**
 * Reads the right edge of a stored tree. Throws Error when a tile is missing or malformed, or when the tiles do not add
 * up to `root`.
 */
export async function loadEdge(size: number, root: Hash, reader: TileReader): Promise<Edge> {
  const peaks = await readPeaks(size, reader.nodes(size));
  if (!sameHash(peaksRoot(peaks), root)) throw new Error(`the tiles of size ${size} do not add up to its root hash`);
  const hashTiles: Hash[][] = [];
  let entries: Uint8Array[] = [];
  for (const { kind, index } of partialTiles(size)) {
    if (kind !== 'data') hashTiles[kind] = await reader.hashes(size, kind, index);
    else entries = await loadEntries(size, index, reader);
  }
  for (let level = 0; level < hashTiles.length; level += 1) hashTiles[level] ??= [];
  return { peaks, hashTiles, entries };
}

async function loadEntries(size: number, index: number, reader: TileReader): Promise<Uint8Array[]> {
  const hashes = await reader.hashes(size, 0, index);
  const leaves = await reader.leaves(size, index);
  leaves.forEach((leaf, i) => {
    const expected = hashes[i];
    if (expected === undefined || !sameHash(hashOf(leaf), expected)) {
      throw new Error(`entry ${index * tileWidth + i} does not have the hash that the tree has for it`);
    }
  });
  return leaves.map((leaf) => leaf.bytes);
}
