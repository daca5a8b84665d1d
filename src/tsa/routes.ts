import { type Request, type Response, Router } from 'express';
import type { Logger } from 'pino';
import { AppError, toAppError } from '../errors.js';
import { readBody } from '../http/body.js';
import type { TimestampAuthority } from './authority.js';
import type { TimestampRequest } from './imprint.js';
import { parseJsonQuery } from './json-query.js';
import type { TsaMetrics } from './metrics.js';
import { parseQuery } from './query.js';
import { failureOf, rejectedReply } from './reply.js';

/** Where Sigstore's clients look for a timestamp authority. */
export const timestampPath = '/api/v1/timestamp';

/** In bytes; a request of today's clients has about a hundred. */
const bodyLimit = 16 * 1024;
const replyType = 'application/timestamp-reply';

export interface TsaRoutesDeps {
  readonly authority: TimestampAuthority;
  readonly metrics: Pick<TsaMetrics, 'timestamps'>;
  readonly logger: Logger;
}

type Answer = (error: AppError, response: Response) => void;

/** By content type: how a request is read and how its refusal is told. */
const forms: ReadonlyMap<string, { parse(body: Uint8Array): TimestampRequest; readonly refuse: Answer }> = new Map([
  [
    'application/timestamp-query',
    {
      parse: parseQuery,
      refuse(error, response) {
        if (error.retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(error.retryAfterSeconds));
        sendReply(response, error.httpStatus, rejectedReply(error));
      },
    },
  ],
  [
    'application/json',
    {
      parse: parseJsonQuery,
      refuse(error) {
        throw error;
      },
    },
  ],
]);

/**
 * The endpoints of Sigstore's timestamp authority. What cannot be taken for a request at all (method, content type,
 * body too large) throws AppError to the application's error handler; what RFC 3161 has a failure for is answered in the
 * form of the request.
 */
export function tsaRoutes(deps: TsaRoutesDeps): Router {
  const router = Router({ caseSensitive: true, strict: true });
  router
    .route(timestampPath)
    .post((request, response) => answer(request, response, deps))
    .all((_request, response) => onlyMethod(response, 'POST'));
  router
    .route(`${timestampPath}/certchain`)
    .get((_request, response) => {
      response.setHeader('Content-Type', 'application/pem-certificate-chain');
      response.end(deps.authority.chainPem);
    })
    .all((_request, response) => onlyMethod(response, 'GET'));
  return router;
}

async function answer(request: Request, response: Response, deps: TsaRoutesDeps): Promise<void> {
  const form = forms.get(mediaType(request));
  if (form === undefined) {
    const expected = [...forms.keys()].join(' or ');
    throw new AppError(
      'TSA_MEDIA_TYPE_UNSUPPORTED',
      `the body is "${mediaType(request).slice(0, 80)}"; expected ${expected}`,
    );
  }
  const body = await readBody(request, bodyLimit);
  try {
    const reply = await deps.authority.timestamp(form.parse(body));
    deps.metrics.timestamps.inc({ result: 'granted' });
    sendReply(response, 200, reply);
  } catch (thrown) {
    const error = toAppError(thrown);
    deps.metrics.timestamps.inc({ result: failureOf(error) });
    const entry = { requestId: response.locals.requestId, reason: error.code, err: error.cause };
    deps.logger[error.level](entry, `timestamp refused: ${error.publicMessage}`);
    form.refuse(error, response);
  }
}

function mediaType(request: Request): string {
  return (request.headers['content-type'] ?? '').split(';', 1).join('').trim().toLowerCase();
}

function sendReply(response: Response, status: number, reply: Uint8Array): void {
  response.statusCode = status;
  response.setHeader('Content-Type', replyType);
  response.setHeader('Content-Length', reply.length);
  response.setHeader('Cache-Control', 'no-store');
  response.end(reply);
}

function onlyMethod(response: Response, allowed: string): never {
  response.setHeader('Allow', allowed);
  throw new AppError('TSA_METHOD_NOT_ALLOWED', `expected ${allowed}`);
}
