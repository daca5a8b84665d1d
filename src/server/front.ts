import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TlsOptions } from 'node:tls';
import type { ServeConfig } from '../config/serve.js';
import { AppError } from '../errors.js';
import { errorBody } from '../http/errors.js';
import { sharedAlpn } from '../http/shared-port.js';
import { loadTls } from '../http/tls.js';
import { requestIdOf } from '../request-id.js';

/** The HTTP server, listening from the first moment on and answering 503 until it gets its application. */
export interface Front {
  readonly server: Server;
  readonly scheme: 'http' | 'https';
  handle(listener: RequestListener): void;
}

/** In bytes. Node's own limit, 16 KiB, is less than a token may have, and clients of v1 send it in a header. */
const maxHeaderSize = 128 * 1024;

/** Builds the server, with TLS if configured; throws AppError STARTUP for TLS files that cannot be used. */
export function createFront(config: ServeConfig): Front {
  let listener: RequestListener = starting;
  const dispatch: RequestListener = (request, response) => listener(request, response);
  const options: ServerOptions = {
    headersTimeout: config.readHeaderTimeoutMs,
    keepAliveTimeout: config.idleConnectionTimeoutMs,
    requestTimeout: config.readHeaderTimeoutMs + config.readBodyTimeoutMs,
    // Node looks only so often who has run out of time, and every 30 s unless told.
    connectionsCheckingInterval: 1000,
    noDelay: true,
    maxHeaderSize,
  };
  const { tls } = config.http;
  const server =
    tls === undefined
      ? createServer(options, dispatch)
      : createTlsServer({ ...options, ...loadTls(tls, 'http'), ...alpn(config) }, dispatch);
  server.maxConnections = config.maxConnections;
  server.on('clientError', answerUnreadable);
  return {
    server,
    scheme: tls === undefined ? 'http' : 'https',
    handle(next) {
      listener = next;
    },
  };
}

/** Whether gRPC is to be served on the HTTP port. */
export function sharesPort(config: ServeConfig): boolean {
  return config.grpc.port === config.http.port && config.http.port !== 0;
}

function alpn(config: ServeConfig): Pick<TlsOptions, 'ALPNProtocols' | 'ALPNCallback'> {
  return sharesPort(config) ? { ALPNCallback: sharedAlpn } : { ALPNProtocols: ['http/1.1'] };
}

function starting(request: IncomingMessage, response: ServerResponse): void {
  const error = new AppError('STARTING', 'the transparency log is being opened');
  const requestId = requestIdOf(request.headers['x-request-id']?.toString());
  response.writeHead(error.httpStatus, {
    'Content-Type': 'application/json',
    'Retry-After': '1',
    'X-Request-Id': requestId,
  });
  response.end(errorBody(error, requestId));
}

/** What Node could not read as a request still gets an answer in our form; all but these codes are 400. */
const unreadable: Readonly<Record<string, { readonly status: string; readonly detail: string }>> = {
  HPE_HEADER_OVERFLOW: {
    status: '431 Request Header Fields Too Large',
    detail: `more than ${maxHeaderSize} bytes of headers`,
  },
  ERR_HTTP_REQUEST_TIMEOUT: { status: '408 Request Timeout', detail: 'it did not arrive in time' },
};

function answerUnreadable(cause: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || cause.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const known = unreadable[cause.code ?? ''] ?? { status: '400 Bad Request', detail: 'it is not HTTP/1.1' };
  const requestId = requestIdOf(undefined);
  const body = errorBody(new AppError('REQUEST_UNREADABLE', known.detail), requestId);
  const head = [
    `HTTP/1.1 ${known.status}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${requestId}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

const lingerMs = 5_000;

/** Takes no new connection and resolves when the last one is gone, which is after five seconds at the latest. */
export function stopListening(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), lingerMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
