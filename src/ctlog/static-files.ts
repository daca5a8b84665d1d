import type { Request, Response } from 'express';
import { AppError } from '../errors.js';
import { checkpointPath, type LogReader } from './storage.js';
import { cutTile } from './tile-leaf.js';
import { fullTilePath, parseTilePath, type Tile, tilePath, tileWidth } from './tiles.js';

const immutable = 'public, max-age=31536000, immutable';

type Serve = (request: Request, response: Response) => Promise<void>;

/**
 * The published files of a log by route path (static-ct-api, "Monitoring APIs"), read from the storage without touching
 * the writer. Only paths that the format knows are ever looked up, so none leads out of the log.
 */
export function serveFiles(files: LogReader): Readonly<Record<string, Serve>> {
  return {
    '/checkpoint': async (_request, response) => {
      const bytes = await files.fetch(checkpointPath);
      send(response, bytes, 'text/plain; charset=utf-8', 'no-cache');
    },
    '/issuer/:fingerprint': async (request, response) => {
      const { fingerprint } = request.params;
      const known = typeof fingerprint === 'string' && /^[0-9a-f]{64}$/.test(fingerprint);
      const bytes = known ? await files.fetch(`issuer/${fingerprint}`) : undefined;
      send(response, bytes, 'application/pkix-cert', immutable);
    },
    '/tile/*path': async (request, response) => {
      const { path } = request.params;
      const tile = Array.isArray(path) ? parseTilePath(`tile/${path.join('/')}`) : undefined;
      const bytes = tile && (await fetchTile(files, tile));
      send(response, bytes, 'application/octet-stream', immutable);
    },
  };
}

/** A partial tile that has given way to the full one is cut from it, for clients that are a moment behind. */
async function fetchTile(files: LogReader, tile: Tile): Promise<Uint8Array | undefined> {
  const exact = await files.fetch(tilePath(tile));
  if (exact !== undefined || tile.width === tileWidth) return exact;
  const full = await files.fetch(fullTilePath(tile.kind, tile.index));
  return full && cutTile(tile.kind, full, tile.width);
}

function send(response: Response, bytes: Uint8Array | undefined, type: string, caching: string): void {
  if (bytes === undefined) throw new AppError('NOT_FOUND', 'the log has no such file');
  response.setHeader('Content-Type', type);
  response.setHeader('Cache-Control', caching);
  response.setHeader('Content-Length', bytes.length);
  response.end(bytes);
}
