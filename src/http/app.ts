import express, { type Express, type NextFunction, type Request, type Response, type Router } from 'express';
import type { Logger } from 'pino';
import { AppError, toAppError } from '../errors.js';
import type { Issued, IssueRequest } from '../issue.js';
import type { Metrics } from '../metrics.js';
import { requestIdOf } from '../request-id.js';
import { readBody } from './body.js';
import { allowAnyOrigin, methodOverride } from './cors.js';
import { errorBody } from './errors.js';
import { type JsonObject, parseJsonBody } from './json-body.js';
import { readV1, readV2, v1Answer, v2Answer } from './signing-cert.js';

/** One dependency of the instance as /readyz shows it. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly reason?: string;
}

export interface TrustFile {
  readonly type: string;
  readonly text: string;
  /** A strong entity tag, quotes included: another content has another one. */
  readonly etag?: string;
}

export interface AppDeps {
  readonly issue: (request: IssueRequest, signal: AbortSignal, requestId: string) => Promise<Issued>;
  /** PEM chains of the CAs that relying parties should trust, issuing CA first. */
  readonly trustBundle: () => readonly (readonly string[])[];
  readonly configuration: () => JsonObject;
  readonly readiness: () => readonly Check[];
  /** Files for clients as they are now, served under /trust by name. */
  readonly trustFiles: () => ReadonlyMap<string, TrustFile>;
  /** The timestamp authority's endpoints, if there is one. */
  readonly tsaRoutes?: Router | undefined;
  /** Our own logs by path, such as `/ctlog`. */
  readonly ctlogRoutes: ReadonlyMap<string, Router>;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly requestTimeoutMs: number;
}

/** The HTTP side of the CA: translates the wire to issue() and back, nothing else. */
export function createApp(deps: AppDeps): Express {
  const app = newApp(deps);
  app.use(allowAnyOrigin, methodOverride);

  const sign = signingCert(deps);
  app
    .route('/api/v2/signingCert')
    .post(sign(readV2, (issued, response) => json(response, 200, v2Answer(issued))))
    .all(methodNotAllowed);
  app
    .route('/api/v1/signingCert')
    .post(sign(readV1, (issued, response) => pem(response, 201, v1Answer(issued))))
    .all(methodNotAllowed);
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
  for (const [path, routes] of deps.ctlogRoutes) app.use(path, routes);
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

type Observers = Pick<AppDeps, 'metrics' | 'logger'>;

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
    const ready = checks.every((check) => check.ok);
    json(response, ready ? 200 : 503, { status: ready ? 'READY' : 'NOT_READY', checks });
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

type Read = (body: JsonObject, authorization: string | undefined) => IssueRequest;
type Answer = (issued: Issued, response: Response) => void;

function signingCert(deps: AppDeps) {
  return (read: Read, answer: Answer) =>
    async (request: Request, response: Response): Promise<void> => {
      const body = parseJsonBody(await readBody(request));
      const issued = await deps.issue(
        read(body, request.headers.authorization),
        AbortSignal.timeout(deps.requestTimeoutMs),
        String(response.locals.requestId),
      );
      answer(issued, response);
    };
}

function json(response: Response, status: number, body: unknown): void {
  send(response, status, 'application/json', JSON.stringify(body));
}

function pem(response: Response, status: number, body: string): void {
  send(response, status, 'application/pem-certificate-chain', body);
}

/** Fulcio names no charset, and Express would add one. */
function send(response: Response, status: number, type: string, body: string): void {
  response.statusCode = status;
  response.setHeader('Content-Type', type);
  response.setHeader('Content-Length', Buffer.byteLength(body));
  response.end(body);
}

function accessLog(deps: Observers) {
  return (request: Request, response: Response, next: NextFunction): void => {
    const start = performance.now();
    const requestId = requestIdOf(request.get('x-request-id'));
    response.locals.requestId = requestId;
    response.setHeader('X-Request-Id', requestId);
    const { method, path } = request;
    response.once('finish', () => {
      const seconds = (performance.now() - start) / 1000;
      const labels = { code: String(response.statusCode), method: method.toLowerCase() };
      deps.metrics.httpRequests.inc(labels);
      if (path.startsWith('/api/')) deps.metrics.apiLatency.observe(labels, seconds);
      deps.logger.debug(
        { requestId, method, path, status: response.statusCode, ms: Math.round(seconds * 1e4) / 10 },
        'http request',
      );
    });
    next();
  };
}

function errorHandler(deps: Observers) {
  return (thrown: unknown, request: Request, response: Response, _next: NextFunction): void => {
    const error = toAppError(thrown);
    const requestId = String(response.locals.requestId);
    const entry = { requestId, reason: error.code, method: request.method, path: request.path, err: error.cause };
    deps.logger[error.level](entry, error.publicMessage);
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    if (error.retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(error.retryAfterSeconds));
    send(response, error.httpStatus, 'application/json', errorBody(error, requestId));
  };
}
