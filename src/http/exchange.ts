import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { toAppError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { lateObserver } from '../telemetry/late.js';
import { errorBody } from './errors.js';

/** Where requests are counted and logged. */
export interface Observers {
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/** One request as log lines and metrics name it. */
export interface Exchange {
  readonly requestId: string;
  readonly method: string;
  /** Without the query. */
  readonly path: string;
}

/** Counts and logs a request once its answer is out. */
export function observe({ metrics, logger }: Observers, exchange: Exchange, response: ServerResponse): void {
  const start = performance.now();
  response.once('finish', () => {
    const ms = performance.now() - start;
    const { requestId, method, path } = exchange;
    const status = response.statusCode;
    const labels = { code: String(status), method: method.toLowerCase() };
    metrics.httpRequests.inc(labels);
    if (path.startsWith('/api/')) lateObserver(metrics.apiLatency, labels)(ms / 1000);
    if (!logger.isLevelEnabled('debug')) return;
    logger.debug({ requestId, method, path, status, ms: Math.round(ms * 10) / 10 }, 'http request');
  });
}

/** Sends a whole answer; Fulcio names no charset, and Express would add one. */
export function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.statusCode = status;
  response.setHeader('Content-Type', type);
  response.setHeader('Content-Length', Buffer.byteLength(body));
  response.end(body);
}

/** `send` for text that is known to be ASCII, as PEM is: nobody has to look for its length in UTF-8. */
export function sendAscii(response: ServerResponse, status: number, type: string, body: string): void {
  response.statusCode = status;
  response.setHeader('Content-Type', type);
  response.setHeader('Content-Length', body.length);
  response.end(body, 'latin1');
}

/** Answers with what went wrong, or cuts off an answer that had begun; the log learns the cause, the client does not. */
export function sendError({ logger }: Observers, thrown: unknown, exchange: Exchange, response: ServerResponse): void {
  const error = toAppError(thrown);
  const { requestId, method, path } = exchange;
  logger[error.level]({ requestId, reason: error.code, method, path, err: error.cause }, error.publicMessage);
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  if (error.retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(error.retryAfterSeconds));
  send(response, error.httpStatus, 'application/json', errorBody(error, requestId));
}

/** A header that may have come once. */
export function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
