import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { messageOf } from '../errors.js';
import { CommandError } from './request-io.js';

/** A loopback HTTP server that waits for the browser to come back from the provider (RFC 8252 Section 7.3). */
export interface Redirect {
  /** The redirect URI to send. */
  readonly url: string;
  /** The URL the browser came back to, with `code` or `error` in its query. */
  wait(timeoutMs: number): Promise<URL>;
  close(): Promise<void>;
}

const callbackPath = '/auth/callback';

/**
 * Listens on the loopback interface; `port` 0 takes a free one. The URI says "localhost", under which the public
 * Sigstore client is registered.
 * @throws CommandError 1 when the port is taken.
 */
export async function listenForRedirect(port: number): Promise<Redirect> {
  let arrive: (url: URL) => void = () => undefined;
  const arrived = new Promise<URL>((resolve) => {
    arrive = resolve;
  });
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', base);
    const isAnswer = url.pathname === callbackPath && (url.searchParams.has('code') || url.searchParams.has('error'));
    sendPage(response, isAnswer ? 200 : 404, isAnswer ? pageText(url) : 'Nothing here.');
    if (isAnswer) arrive(url);
  });
  const base = `http://localhost:${await listen(server, port)}`;
  return {
    url: base + callbackPath,
    wait: (timeoutMs) => withTimeout(arrived, timeoutMs),
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

type HttpServer = ReturnType<typeof createServer>;

async function listen(server: HttpServer, port: number): Promise<number> {
  try {
    server.listen(port, 'localhost');
    await once(server, 'listening');
  } catch (cause) {
    throw new CommandError(1, `cannot listen on port ${port} for the browser's answer: ${messageOf(cause)}`, cause);
  }
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

function pageText(url: URL): string {
  return url.searchParams.has('code')
    ? 'You are logged in. You may close this page and go back to the terminal.'
    : 'The login was refused. The terminal says more.';
}

/** Nothing from the query is shown, so nothing of it can be markup. */
function sendPage(response: ServerResponse, status: number, sentence: string): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'",
    connection: 'close',
  });
  response.end(`<!doctype html><title>Mayfly</title><p>${sentence}</p>\n`);
}

async function withTimeout<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new CommandError(1, 'nobody logged in in time')), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
