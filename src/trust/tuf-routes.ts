import { join } from 'node:path';
import { type Response, Router } from 'express';
import { readIfExists } from '../ctlog/durable-file.js';
import { AppError } from '../errors.js';

const immutable = 'public, max-age=31536000, immutable';
/** What is replaced in place must reach clients as it is now: an old timestamp looks like an attack to them. */
const neverStored = 'no-store';

const files: readonly { readonly pattern: RegExp; readonly caching: string }[] = [
  { pattern: /^(?:timestamp|root)\.json$/, caching: neverStored },
  { pattern: /^[1-9]\d{0,8}\.(?:root|targets|snapshot)\.json$/, caching: immutable },
];
const target = /^[0-9a-f]{64}\.[\w.-]{1,100}$/;

/**
 * A repository directory as a router to be mounted where clients expect their mirror. Only names that a repository has are
 * looked up, so none leads out of the directory; a repository that is made later is served from then on.
 */
export function tufRoutes(dir: string): Router {
  const router = Router({ caseSensitive: true, strict: true });
  router.get('/:name', async (request, response) => {
    const { name } = request.params;
    const caching = files.find(({ pattern }) => pattern.test(name))?.caching;
    await send(response, caching === undefined ? undefined : join(dir, name), caching ?? neverStored);
  });
  // With two slashes sigstore-js asks when its tufMirrorURL ends with one.
  for (const path of ['/targets/:name', '//targets/:name'] as const) {
    router.get(path, async (request, response) => {
      const { name } = request.params;
      await send(response, target.test(name) ? join(dir, 'targets', name) : undefined, immutable);
    });
  }
  return router;
}

async function send(response: Response, path: string | undefined, caching: string): Promise<void> {
  const bytes = path === undefined ? undefined : await readIfExists(path);
  if (bytes === undefined) {
    // Clients ask for the next root until there is none; a cache must not remember that there was none.
    response.setHeader('Cache-Control', neverStored);
    throw new AppError('NOT_FOUND', 'the TUF repository has no such file');
  }
  response.setHeader(
    'Content-Type',
    path?.endsWith('.json') === true ? 'application/json' : 'application/octet-stream',
  );
  response.setHeader('Cache-Control', caching);
  response.setHeader('Content-Length', bytes.length);
  response.end(bytes);
}
