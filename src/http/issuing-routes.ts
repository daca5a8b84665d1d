import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Cancellation, TimeLimit } from '../cancellation.js';
import type { ClientAddress } from '../client-address.js';
import { AppError } from '../errors.js';
import type { Issued, IssueRequest, RequestContext } from '../issue.js';
import type { Intake } from '../limits/intake.js';
import type { OnQuota, QuotaState } from '../limits/quota.js';
import { rateLimitFields } from '../limits/rate-limit-fields.js';
import { requestIdOf } from '../request-id.js';
import { type OnRejection, watched } from '../telemetry/rejections.js';
import { httpSpan } from '../telemetry/requests.js';
import type { Tracing } from '../telemetry/tracing.js';
import { bodyLimit, readBody } from './body.js';
import { type Exchange, headerOf, type Observers, observe, sendAscii, sendError } from './exchange.js';
import { type JsonObject, parseJsonBody } from './json-body.js';
import { readV1, readV2, v1Answer, v2Json } from './signing-cert.js';

export interface IssuingRouteDeps extends Observers {
  readonly issue: (request: IssueRequest, signal: Cancellation, context: RequestContext) => Promise<Issued>;
  readonly requestTimeoutMs: number;
  readonly clientAddress: ClientAddress;
  readonly intake: Intake;
  readonly onRejection?: OnRejection;
  /** Undefined: no traces. */
  readonly tracing?: Tracing | undefined;
}

/** How one version of the API reads a request and writes its answer. */
interface Version {
  readonly read: (body: JsonObject, authorization: string | undefined) => IssueRequest;
  readonly status: number;
  readonly type: string;
  readonly write: (issued: Issued) => string;
}

const versions = {
  '/api/v2/signingCert': {
    read: readV2,
    status: 200,
    type: 'application/json',
    write: v2Json,
  },
  '/api/v1/signingCert': { read: readV1, status: 201, type: 'application/pem-certificate-chain', write: v1Answer },
} as const satisfies Record<string, Version>;

export type IssuingPath = keyof typeof versions;
export const issuingPaths = Object.keys(versions) as readonly IssuingPath[];

/** Issues the certificate that a request asks for and answers with it, traced if need be; rejects with what went wrong. */
export function answerWithCertificate(
  deps: IssuingRouteDeps,
  path: IssuingPath,
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
): Promise<void> {
  const work = (): Promise<void> =>
    watched(deps.onRejection, (read) => answer(deps, path, request, response, requestId, read));
  if (deps.tracing === undefined) return work();
  const traceparent = headerOf(request, 'traceparent');
  const seen = { requestId, traceparent, tracestate: headerOf(request, 'tracestate') };
  return deps.tracing.request(httpSpan(path, versions[path].status, seen), (ours) => {
    response.setHeader('traceparent', ours);
    return work();
  });
}

/** What is refused for the number of requests is refused before body and token are looked at. */
async function answer(
  deps: IssuingRouteDeps,
  path: IssuingPath,
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  read: (token: string) => void,
): Promise<void> {
  const version: Version = versions[path];
  await deps.intake.check();
  const clientAddress = deps.clientAddress(request.socket.remoteAddress, headerOf(request, 'x-forwarded-for'));
  const context = { requestId, clientAddress, onQuota: rateLimitHeaders(response) };
  await deps.intake.arrive(context);
  const meter = deps.intake.meter();
  const limit = new TimeLimit(deps.requestTimeoutMs);
  try {
    const body = await readBody(request, bodyLimit, meter);
    const issued = await deps.intake.run(limit, async () => {
      // Nobody waits any more for work that has not begun; what has begun goes on, because its log entry would stay.
      if (response.destroyed) throw new AppError('DEADLINE_EXCEEDED', 'the client went away');
      const asked = version.read(parseJsonBody(body), request.headers.authorization);
      read(asked.token);
      return deps.issue(asked, limit, context);
    });
    sendAscii(response, version.status, version.type, version.write(issued));
  } finally {
    limit.end();
    meter.close();
  }
}

/** Says in the header how the limits stand, whatever the answer will be. */
function rateLimitHeaders(response: ServerResponse): OnQuota {
  const states: QuotaState[] = [];
  return (state) => {
    states.push(state);
    if (response.headersSent) return;
    for (const [name, value] of Object.entries(rateLimitFields(states))) response.setHeader(name, value);
  };
}

/**
 * The way past Express for the requests that this server exists for: Express takes 25 µs to find a route (docs/performance.md).
 * Returns whether it took the request; what it does not take is for the application, which answers the same paths alike.
 */
export function issuingShortcut(deps: IssuingRouteDeps) {
  const paths = new Set<string>(issuingPaths);
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    const { method, url = '', headers } = request;
    const plain = headers['x-http-method-override'] === undefined;
    if (method !== 'POST' || !plain || !paths.has(url)) return false;
    const exchange: Exchange = { requestId: requestIdOf(headerOf(request, 'x-request-id')), method, path: url };
    observe(deps, exchange, response);
    response.setHeader('X-Request-Id', exchange.requestId);
    response.setHeader('Vary', 'Origin');
    if (headers.origin !== undefined) response.setHeader('Access-Control-Allow-Origin', '*');
    answerWithCertificate(deps, url as IssuingPath, request, response, exchange.requestId).catch((error: unknown) =>
      sendError(deps, error, exchange, response),
    );
    return true;
  };
}
