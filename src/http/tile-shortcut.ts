import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Router } from 'express';
import type { LogRouter } from '../ctlog/routes.js';
import { tileHeaders } from '../ctlog/static-files.js';
import { requestIdOf } from '../request-id.js';
import { headerOf, type Observers, observe } from './exchange.js';

/** With one of these, a request wants less or something else than the whole tile. */
const conditions = ['range', 'if-none-match', 'if-range', 'if-modified-since'] as const;

/**
 * The way past Express for tiles that are in memory, by the path of each log: monitors and mirrors ask for thousands.
 * Returns whether it took the request; what it does not take is for the application, which answers the same alike.
 */
export function tileShortcut(deps: Observers, logs: ReadonlyMap<string, Router | LogRouter>) {
  const places = [...logs].flatMap(([path, routes]) =>
    'cachedTile' in routes ? [{ prefix: `${path}/`, cachedTile: routes.cachedTile }] : [],
  );
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    const { method, url = '', headers } = request;
    if (method !== 'GET' || conditions.some((name) => headers[name] !== undefined)) return false;
    const place = places.find(({ prefix }) => url.startsWith(prefix));
    const file = place?.cachedTile(url.slice(place.prefix.length));
    if (file === undefined) return false;
    const requestId = requestIdOf(headerOf(request, 'x-request-id'));
    observe(deps, { requestId, method, path: url }, response);
    response.writeHead(200, {
      'X-Request-Id': requestId,
      Vary: 'Origin',
      'Access-Control-Allow-Origin': '*',
      ...tileHeaders,
      ETag: file.etag,
      'Content-Length': file.bytes.length,
    });
    response.end(file.bytes);
    return true;
  };
}
