/**
 * Where a log's tiles are (c2sp.org/static-ct-api and c2sp.org/tlog-tiles): a tile is 256 wide and 8 levels high.
 */

export const tileWidth = 256;
export const tileHeight = 8;
/** Bytes of a full hash tile. */
export const hashBytes = 32;

/** A hash tile of a tile level (0 to 5), or a data tile. */
export type TileKind = number | 'data';

export interface Tile {
  readonly kind: TileKind;
  /** Index of the tile within its level. */
  readonly index: number;
  /** Hashes or entries in it: 1 to 256; a narrower one is a partial tile. */
  readonly width: number;
}

/** The highest tile level that a tree of 2^40 leaves has: 0 to 4 hold 2^40 leaves, level 5 is allowed by the format. */
const maxLevel = 5;

/** `<N>` in three-digit path elements, all but the last with an `x` before it: 1234067 is `x001/x234/067`. */
function encodeIndex(index: number): string {
  const groups: string[] = [];
  for (let rest = index; groups.length === 0 || rest > 0; rest = Math.floor(rest / 1000)) {
    groups.unshift(String(rest % 1000).padStart(3, '0'));
  }
  return groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/');
}

/** Path of a tile as if it were full, relative to the monitoring prefix. */
export function fullTilePath(kind: TileKind, index: number): string {
  return `tile/${kind}/${encodeIndex(index)}`;
}

/** The folder in which the partial versions of a tile lie. */
export function partialTileDir(kind: TileKind, index: number): string {
  return `${fullTilePath(kind, index)}.p`;
}

/** Path of a tile, relative to the monitoring prefix, with `.p/<W>` when it is partial. */
export function tilePath({ kind, index, width }: Tile): string {
  return width === tileWidth ? fullTilePath(kind, index) : `${partialTileDir(kind, index)}/${width}`;
}

const pathPattern = /^tile\/(0|[1-5]|data)\/((?:x[0-9]{3}\/){0,4}[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/;

/** The tile at a path, or undefined when the path is not exactly what `tilePath` would give. */
export function parseTilePath(path: string): Tile | undefined {
  const [, level, elements, width] = pathPattern.exec(path) ?? [];
  if (level === undefined || elements === undefined) return undefined;
  const tile: Tile = {
    kind: level === 'data' ? 'data' : Number(level),
    index: Number(elements.replaceAll(/[x/]/g, '')),
    width: width === undefined ? tileWidth : Number(width),
  };
  return tile.width <= tileWidth && tilePath(tile) === path ? tile : undefined;
}

/** Path of an issuer certificate by the SHA-256 of its DER. */
export function issuerPath(fingerprint: Uint8Array): string {
  return `issuer/${Buffer.from(fingerprint).toString('hex')}`;
}

/** Every tile that a tree of this size consists of at its right edge: the partial ones, data tile first. */
export function partialTiles(size: number): Tile[] {
  const tiles: Tile[] = [];
  for (let level = 0; level <= maxLevel; level += 1) {
    const count = Math.floor(size / tileWidth ** level);
    const tile = { index: Math.floor(count / tileWidth), width: count % tileWidth };
    if (tile.width === 0) continue;
    if (level === 0) tiles.push({ kind: 'data', ...tile });
    tiles.push({ kind: level, ...tile });
  }
  return tiles;
}

/** The tile of this kind and index in a tree of this size, full or partial; width 0 when the tree has none. */
export function tileIn(size: number, kind: TileKind, index: number): Tile {
  const level = kind === 'data' ? 0 : kind;
  const count = Math.floor(size / tileWidth ** level);
  return { kind, index, width: Math.max(0, Math.min(tileWidth, count - index * tileWidth)) };
}
