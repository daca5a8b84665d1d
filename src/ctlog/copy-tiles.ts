import { parseTilePath, type Tile, type TileKind, tileIn, tileWidth } from './tiles.js';

/** A tile of the tree, and narrower versions of it that may be copied with it. */
export interface TileToCopy extends Tile {
  readonly also: readonly number[];
}

const kinds: readonly TileKind[] = ['data', 0, 1, 2, 3, 4, 5];

/**
 * The tiles that a tree of this size consists of. Beside one at the right edge also belong its narrower versions, for
 * readers of older checkpoints, and beside any the versions that are `present` where it is copied to, which an earlier
 * copy of a smaller tree may have left. `strange`: what is present and no tile of this tree.
 */
export function tilesToCopy(
  size: number,
  present: readonly string[],
): { readonly tiles: Iterable<TileToCopy>; readonly strange: string[] } {
  const narrower = new Map<string, number[]>();
  const strange = present.filter((path) => {
    const tile = parseTilePath(path);
    if (tile === undefined || tile.width > tileIn(size, tile.kind, tile.index).width) return true;
    const key = `${tile.kind}/${tile.index}`;
    narrower.set(key, [...(narrower.get(key) ?? []), tile.width]);
    return false;
  });
  return { tiles: tilesOf(size, narrower), strange };
}

function* tilesOf(size: number, narrower: ReadonlyMap<string, readonly number[]>): Iterable<TileToCopy> {
  for (const kind of kinds) {
    for (let index = 0; ; index += 1) {
      const tile = tileIn(size, kind, index);
      if (tile.width === 0) break;
      const all =
        tile.width === tileWidth
          ? (narrower.get(`${kind}/${index}`) ?? [])
          : Array.from({ length: tile.width }, (_, i) => i + 1);
      yield { ...tile, also: all.filter((width) => width < tile.width) };
    }
  }
}
