import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ClientAddress } from '../client-address.js';
import type { Issued, IssueRequest, RequestContext } from '../issue.js';
import { requestIdOf } from '../request-id.js';
import { readBody } from './body.js';
import { type Exchange, headerOf, type Observers, observe, send, sendError, timeLimit } from './exchange.js';
import { type JsonObject, parseJsonBody } from './json-body.js';
import { readV1, readV2, v1Answer, v2Answer } from './signing-cert.js';

export interface IssuingRouteDeps extends Observers {
  readonly issue: (request: IssueRequest, signal: AbortSignal, context: RequestContext) => Promise<Issued>;
  readonly requestTimeoutMs: number;
  readonly clientAddress: ClientAddress;
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
    write: (issued) => JSON.stringify(v2Answer(issued)),
  },
  '/api/v1/signingCert': { read: readV1, status: 201, type: 'application/pem-certificate-chain', write: v1Answer },
} as const satisfies Record<string, Version>;

export type IssuingPath = keyof typeof versions;
export const issuingPaths = Object.keys(versions) as readonly IssuingPath[];

/** Issues the certificate that a request asks for and answers with it; rejects with what went wrong. */
export async function answerWithCertificate(
  deps: IssuingRouteDeps,
  path: IssuingPath,
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
): Promise<void> {
  const version: Version = versions[path];
  const body = parseJsonBody(await readBody(request));
  const limit = timeLimit(deps.requestTimeoutMs);
  try {
    const asked = version.read(body, request.headers.authorization);
    const forwardedFor = headerOf(request, 'x-forwarded-for');
    const context = { requestId, clientAddress: deps.clientAddress(request.socket.remoteAddress, forwardedFor) };
    const issued = await deps.issue(asked, limit.signal, context);
    send(response, version.status, version.type, version.write(issued));
  } finally {
    limit.end();
  }
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
