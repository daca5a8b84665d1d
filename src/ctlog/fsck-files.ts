import { messageOf } from '../errors.js';
import type { LogReader } from './storage.js';
import { fullTilePath, type TileKind, tilePath, tileWidth } from './tiles.js';

/** One thing that is wrong with a log. */
export interface Finding {
  /** Path below the log's prefix. */
  readonly file: string;
  readonly expected: string;
  readonly found: string;
}

/** A file of the log, or why it could not be had. */
export type Fetched =
  | { readonly path: string; readonly bytes: Uint8Array }
  | { readonly path: string; readonly bytes: undefined; readonly problem: string };

/** Never rejects. */
export async function fetchFile(reader: LogReader, path: string): Promise<Fetched> {
  try {
    const bytes = await reader.fetch(path);
    return bytes === undefined ? { path, bytes, problem: 'it is missing' } : { path, bytes };
  } catch (error) {
    return { path, bytes: undefined, problem: `it cannot be read: ${messageOf(error)}` };
  }
}

/** A partial tile may have given way to the full one, of which it is the beginning (static-ct-api, "Partial Tiles"). */
export async function fetchTile(reader: LogReader, kind: TileKind, index: number, width: number): Promise<Fetched> {
  const exact = await fetchFile(reader, tilePath({ kind, index, width }));
  if (exact.bytes !== undefined || width === tileWidth) return exact;
  const full = await fetchFile(reader, fullTilePath(kind, index));
  return full.bytes === undefined ? exact : full;
}
