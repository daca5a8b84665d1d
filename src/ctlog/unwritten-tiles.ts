import { checkpointPath, type LogReader } from './storage.js';
import { fullTilePath, parseTilePath, type TileKind } from './tiles.js';

/** What the writer has in memory of the committed tree. */
export interface Unwritten {
  readonly checkpoint: () => Uint8Array;
  /**
   * The hashes or entries so far of a tile at the right edge, or of one that is not written out; undefined of any other.
   * `path` is that of the full tile.
   */
  readonly parts: (kind: TileKind, index: number, path: string) => readonly Uint8Array[] | undefined;
}

/**
 * The public files of a log as they stand in the committed tree. A tree head may be shown before its tiles are written
 * out, and not every size gets a partial tile on disk; what is missing there is cut from what the writer has in memory.
 */
export function unwrittenTiles(written: LogReader, { checkpoint, parts }: Unwritten): LogReader {
  return {
    name: written.name,
    async fetch(path) {
      if (path === checkpointPath) return written.shown?.(checkpoint()) ?? checkpoint();
      const tile = parseTilePath(path);
      const items = tile && parts(tile.kind, tile.index, fullTilePath(tile.kind, tile.index));
      if (tile === undefined || items === undefined || items.length < tile.width) return written.fetch(path);
      return Buffer.concat(tile.width === items.length ? items : items.slice(0, tile.width));
    },
  };
}
