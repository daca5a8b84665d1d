import { hash } from 'node:crypto';
import type { Request, Response } from 'express';
import { AppError } from '../errors.js';
import { checkpointPath, type LogReader } from './storage.js';
import { cutTile } from './tile-leaf.js';
import { fullTilePath, parseTilePath, type Tile, tilePath, tileWidth } from './tiles.js';

const immutable = 'public, max-age=31536000, immutable';

type Serve = (request: Request, response: Response) => Promise<void>;

export interface ServedFiles {
  /** By route path. */
  readonly routes: Readonly<Record<string, Serve>>;
  /** A tile that is in memory, by its path as the format spells it, such as `tile/0/000`. */
  readonly cachedTile: (path: string) => Sent | undefined;
}

/** A file as it is sent. */
export interface Sent {
  readonly bytes: Uint8Array;
  /** Strong, of the content. */
  readonly etag: string;
}

/**
 * The published files of a log by route path (static-ct-api, "Monitoring APIs"), without touching the writer. Only paths
 * that the format knows are ever looked up, so none leads out of the log. Those that never change are answered out of
 * memory while they are asked for, up to `cacheBytes` of them.
 */
export function serveFiles(files: LogReader, cacheBytes = 16 * 1024 * 1024): ServedFiles {
  const cached = new FileCache(cacheBytes);
  const routes: ServedFiles['routes'] = {
    '/tile/*path': async (request, response) => {
      const { path } = request.params;
      const tile = Array.isArray(path) ? parseTilePath(`tile/${path.join('/')}`) : undefined;
      const file = tile && (await cached.get(tilePath(tile), () => fetchTile(files, tile)));
      send(request, response, file, tileHeaders['Content-Type'], tileHeaders['Cache-Control']);
    },
    '/checkpoint': async (request, response) => {
      const bytes = await files.fetch(checkpointPath);
      send(request, response, bytes && sent(bytes), 'text/plain; charset=utf-8', 'no-cache');
    },
    '/issuer/:fingerprint': async (request, response) => {
      const { fingerprint } = request.params;
      const known = typeof fingerprint === 'string' && /^[0-9a-f]{64}$/.test(fingerprint);
      const file = known ? await cached.get(`issuer/${fingerprint}`, (path) => files.fetch(path)) : undefined;
      send(request, response, file, 'application/pkix-cert', immutable);
    },
  };
  return { routes, cachedTile: (path) => (path.startsWith('tile/') ? cached.hit(path) : undefined) };
}

/** What a tile's answer says beside its entity tag. */
export const tileHeaders = {
  'Cache-Control': immutable,
  'Accept-Ranges': 'bytes',
  'Content-Type': 'application/octet-stream',
} as const;

/** A partial tile that has given way to the full one is cut from it, for clients that are a moment behind. */
async function fetchTile(files: LogReader, tile: Tile): Promise<Uint8Array | undefined> {
  const exact = await files.fetch(tilePath(tile));
  if (exact !== undefined || tile.width === tileWidth) return exact;
  const full = await files.fetch(fullTilePath(tile.kind, tile.index));
  return full && cutTile(tile.kind, full, tile.width);
}

function sent(bytes: Uint8Array): Sent {
  return { bytes, etag: `"${hash('sha256', bytes, 'base64url').slice(0, 22)}"` };
}

/** The files asked for last. */
class FileCache {
  readonly #limit: number;
  readonly #files = new Map<string, Sent>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  hit(path: string): Sent | undefined {
    const hit = this.#files.get(path);
    if (hit === undefined) return undefined;
    // To the end of the row of those that are dropped.
    this.#files.delete(path);
    this.#files.set(path, hit);
    return hit;
  }

  /** Whatever `fetch` gives for a path, it gives for ever; undefined is asked for again. */
  async get(path: string, fetch: (path: string) => Promise<Uint8Array | undefined>): Promise<Sent | undefined> {
    const hit = this.hit(path);
    if (hit !== undefined) return hit;
    const bytes = await fetch(path);
    if (bytes === undefined) return undefined;
    const file = sent(bytes);
    if (!this.#files.has(path)) this.#bytes += bytes.length;
    this.#files.set(path, file);
    for (const [oldest, { bytes: dropped }] of this.#files) {
      if (this.#bytes <= this.#limit) break;
      this.#files.delete(oldest);
      this.#bytes -= dropped.length;
    }
    return file;
  }
}

function send(request: Request, response: Response, file: Sent | undefined, type: string, caching: string): void {
  if (file === undefined) throw new AppError('NOT_FOUND', 'the log has no such file');
  const { bytes, etag } = file;
  response.setHeader('Cache-Control', caching);
  response.setHeader('ETag', etag);
  if (request.headers['if-none-match'] !== undefined && request.fresh) {
    response.statusCode = 304;
    response.end();
    return;
  }
  response.setHeader('Accept-Ranges', 'bytes');
  response.setHeader('Content-Type', type);
  const part = request.headers.range === undefined ? bytes : partOf(request, response, file);
  response.setHeader('Content-Length', part.length);
  response.end(part);
}

/** What a Range asks for (RFC 9110 Section 14); several ranges, and a range of another version, get the whole file. */
function partOf(request: Request, response: Response, { bytes, etag }: Sent): Uint8Array {
  const condition = request.headers['if-range'];
  const ranges = condition === undefined || condition === etag ? request.range(bytes.length) : undefined;
  if (ranges === -1) {
    response.statusCode = 416;
    response.setHeader('Content-Range', `bytes */${bytes.length}`);
    response.setHeader('Cache-Control', 'no-store');
    return new Uint8Array();
  }
  const [range, more] = Array.isArray(ranges) && ranges.type === 'bytes' ? ranges : [];
  if (range === undefined || more !== undefined) return bytes;
  response.statusCode = 206;
  response.setHeader('Content-Range', `bytes ${range.start}-${range.end}/${bytes.length}`);
  return bytes.subarray(range.start, range.end + 1);
}
