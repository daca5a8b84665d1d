import type { RequestListener } from 'node:http';
import express, { type Express, type NextFunction, type Request, type Response, type Router } from 'express';
import type { LogRouter } from '../ctlog/routes.js';
import { AppError } from '../errors.js';
import { requestIdOf } from '../request-id.js';
import { allowAnyOrigin, methodOverride } from './cors.js';
import { type Observers, observe, send, sendError } from './exchange.js';
import { answerWithCertificate, type IssuingRouteDeps, issuingPaths, issuingShortcut } from './issuing-routes.js';
import type { JsonObject } from './json-body.js';
import { tileShortcut } from './tile-shortcut.js';

/** One dependency of the instance as /readyz shows it. */
export interface Check {
  readonly name: string;
  /** Which one, where there are several: a log, an issuer. */
  readonly target?: string;
  readonly ok: boolean;
  /** Whether the instance is ready only while it is ok; it is, unless this is false. */
  readonly required?: boolean;
  readonly reason?: string;
}

/** Whether everything that is required is in order. */
export function isReady(checks: readonly Pick<Check, 'ok' | 'required'>[]): boolean {
  return checks.every(({ ok, required = true }) => ok || !required);
}

export interface TrustFile {
  readonly type: string;
  readonly text: string;
  /** A strong entity tag, quotes included: another content has another one. */
  readonly etag?: string;
}

export interface AppDeps extends IssuingRouteDeps {
  /** PEM chains of the CAs that relying parties should trust, issuing CA first. */
  readonly trustBundle: () => readonly (readonly string[])[];
  readonly configuration: () => JsonObject;
  readonly readiness: () => readonly Check[];
  /** Files for clients as they are now, served under /trust by name. */
  readonly trustFiles: () => ReadonlyMap<string, TrustFile>;
  /** The timestamp authority's endpoints, if there is one. */
  readonly tsaRoutes?: Router | undefined;
  /** The TUF repository, at /tuf. */
  readonly tufRoutes?: Router | undefined;
  /** The page for people, if it is on this listener. */
  readonly pageRoutes?: Router | undefined;
  /** Our own logs by path, such as `/ctlog`. */
  readonly ctlogRoutes: ReadonlyMap<string, Router | LogRouter>;
}

/** The HTTP side of the CA: translates the wire to issue() and back, nothing else. */
export function createApp(deps: AppDeps): RequestListener {
  const shortcut = issuingShortcut(deps);
  const tiles = tileShortcut(deps, deps.ctlogRoutes);
  const app = createRoutes(deps);
  return (request, response) => {
    if (!shortcut(request, response) && !tiles(request, response)) app(request, response);
  };
}

function createRoutes(deps: AppDeps): Express {
  const app = newApp(deps);
  // Before the rest, which other origins may read.
  if (deps.pageRoutes !== undefined) app.use(deps.pageRoutes);
  app.use(allowAnyOrigin, methodOverride);
  for (const [path, routes] of deps.ctlogRoutes) app.use(path, routes);

  for (const path of issuingPaths) {
    app
      .route(path)
      .post((request, response) =>
        answerWithCertificate(deps, path, request, response, String(response.locals.requestId)),
      )
      .all(methodNotAllowed);
  }
  readOnly(app, '/api/v1/rootCert', (response) => pem(response, 200, deps.trustBundle().flat().join('')));
  readOnly(app, '/api/v2/trustBundle', (response) =>
    json(response, 200, { chains: deps.trustBundle().map((certificates) => ({ certificates })) }),
  );
  readOnly(app, '/api/v2/configuration', (response) => json(response, 200, deps.configuration()));
  addHealth(app, deps.readiness);
  app
    .route('/trust/:name')
    .head(methodNotAllowed)
    .get((request, response) => sendTrustFile(deps.trustFiles().get(request.params.name), request, response))
    .all(methodNotAllowed);
  if (deps.tsaRoutes !== undefined) app.use(deps.tsaRoutes);
  if (deps.tufRoutes !== undefined) app.use('/tuf', deps.tufRoutes);
  addFallbacks(app, deps);
  return app;
}

/** Caches have to ask whether it is still current: these files change with every rotation. */
function sendTrustFile(file: TrustFile | undefined, request: Request, response: Response): void {
  if (file === undefined) throw new AppError('NOT_FOUND', '');
  response.setHeader('Cache-Control', 'no-cache');
  if (file.etag !== undefined) response.setHeader('ETag', file.etag);
  const known = request.get('if-none-match')?.split(/\s*,\s*/) ?? [];
  const isKnown = file.etag !== undefined && known.some((tag) => tag === '*' || tag.replace(/^W\//, '') === file.etag);
  if (isKnown) response.status(304).end();
  else send(response, 200, file.type, file.text);
}

/** An application that is exact about paths and counts and logs its requests. */
export function newApp(deps: Observers): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('strict routing', true);
  app.set('case sensitive routing', true);
  app.set('etag', false);
  app.use(accessLog(deps));
  return app;
}

/** GET /healthz: the process answers. GET /readyz: what it needs is in order, dependency by dependency. */
export function addHealth(app: Express, readiness: () => readonly Check[]): void {
  readOnly(app, '/healthz', (response) => json(response, 200, { status: 'SERVING' }));
  readOnly(app, '/readyz', (response) => {
    const checks = readiness();
    const ready = isReady(checks);
    const shown = checks.map((check) => ({ ...check, required: check.required ?? true }));
    json(response, ready ? 200 : 503, { status: ready ? 'READY' : 'NOT_READY', checks: shown });
  });
}

/** What no route answers, and what a route throws; to be added last. */
export function addFallbacks(app: Express, deps: Observers): void {
  app.use(() => {
    throw new AppError('NOT_FOUND', '');
  });
  app.use(errorHandler(deps));
}

function readOnly(app: Express, path: string, answer: (response: Response) => void): void {
  app
    .route(path)
    .head(methodNotAllowed)
    .get((_request, response) => answer(response))
    .all(methodNotAllowed);
}

function methodNotAllowed(): never {
  throw new AppError('METHOD_NOT_ALLOWED', '');
}

function json(response: Response, status: number, body: unknown): void {
  send(response, status, 'application/json', JSON.stringify(body));
}

function pem(response: Response, status: number, body: string): void {
  send(response, status, 'application/pem-certificate-chain', body);
}

function accessLog(deps: Observers) {
  return (request: Request, response: Response, next: NextFunction): void => {
    const requestId = requestIdOf(request.get('x-request-id'));
    response.locals.requestId = requestId;
    response.setHeader('X-Request-Id', requestId);
    observe(deps, { requestId, method: request.method, path: request.path }, response);
    next();
  };
}

function errorHandler(deps: Observers) {
  return (thrown: unknown, request: Request, response: Response, _next: NextFunction): void => {
    const requestId = String(response.locals.requestId);
    sendError(deps, thrown, { requestId, method: request.method, path: request.path }, response);
  };
}
