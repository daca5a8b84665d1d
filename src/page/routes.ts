import { createHash } from 'node:crypto';
import { type NextFunction, type Request, type Response, Router } from 'express';
import { AppError } from '../errors.js';
import { createAnswers } from './answers.js';
import { type ExplorerOptions, openExplorer } from './api.js';
import { type Asset, loadAssets } from './assets.js';
import { explorePage } from './explore-page.js';
import { type Instance, overviewPage } from './overview.js';

export interface PageOptions extends ExplorerOptions {
  /** What there is to say now. */
  readonly instance: () => Instance;
  /** What the explorer cannot show here, in a sentence each. */
  readonly notices: readonly string[];
}

export interface Page {
  /** `/`, `/explore` and what they need below `/page`. */
  readonly routes: Router;
  close(): Promise<void>;
}

/** Nothing inline, nothing from elsewhere, no frame around it, and no string that becomes script or markup. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const headers: Readonly<Record<string, string>> = {
  'Content-Security-Policy': contentSecurityPolicy,
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
};

const htmlType = 'text/html; charset=utf-8';
/** The overview is made at most once in so long. */
const freshMs = 1000;

/** The page for people, to be mounted at the root of a listener, before anything that opens it to other origins. */
export function openPage(options: PageOptions): Page {
  const { instance, notices, clock } = options;
  const assets = loadAssets();
  const explorer = openExplorer(options);
  const answer = createAnswers();
  const overview = remembered(() => overviewPage(instance()), clock);
  const explore = remembered(() => {
    const { publicUrl, version } = instance();
    return explorePage({ publicUrl, version, logs: [...options.logs.keys()], notices });
  }, clock);
  const router = Router({ caseSensitive: true, strict: true });
  const page = (path: string, text: () => string): void => {
    router
      .route(path)
      .get(secured, (request, response) => {
        const body = { type: htmlType, text: text() };
        return answer(request, response, { version: tagOf(body.text), make: () => body });
      })
      .all(methodNotAllowed);
  };
  page('/', overview);
  page('/explore', explore);
  router.use('/page', secured, readOnly);
  router.use('/page/api', explorer.routes);
  router.get('/page/:name', (request, response) => sendAsset(assets.get(request.params.name), request, response));
  return { routes: router, close: () => explorer.close() };
}

function remembered(make: () => string, clock: () => number): () => string {
  let made: { readonly text: string; readonly at: number } | undefined;
  return () => {
    const now = clock();
    if (made === undefined || Math.abs(now - made.at) > freshMs) made = { text: make(), at: now };
    return made.text;
  };
}

function tagOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}

function secured(_request: Request, response: Response, next: NextFunction): void {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  next();
}

function readOnly(request: Request, _response: Response, next: NextFunction): void {
  if (request.method !== 'GET' && request.method !== 'HEAD') methodNotAllowed();
  next();
}

function methodNotAllowed(): never {
  throw new AppError('METHOD_NOT_ALLOWED', '');
}

function sendAsset(asset: Asset | undefined, request: Request, response: Response): void {
  if (asset === undefined) throw new AppError('NOT_FOUND', '');
  response.setHeader('Cache-Control', 'no-cache');
  response.setHeader('ETag', asset.etag);
  if (request.get('if-none-match') === asset.etag) {
    response.status(304).end();
    return;
  }
  response.setHeader('Content-Type', asset.type);
  response.end(asset.bytes);
}
