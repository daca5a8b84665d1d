import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createServer as createHttpsServer, get as httpsGet } from 'node:https';
import { type AddressInfo, connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { credentials } from '@grpc/grpc-js';
import fc from 'fast-check';
import type { GrpcDeps } from '../../src/grpc/server.js';
import { sharedAlpn, shareWithGrpc } from '../../src/http/shared-port.js';
import { loadTls } from '../../src/http/tls.js';
import {
  call,
  checkMethod,
  closeAll,
  connect,
  create,
  createMethod,
  host,
  keyRequest,
  serve,
  tlsFiles,
} from './support.js';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  await closeAll();
  for (const close of closers.splice(0).reverse()) await close();
});

describe('the gRPC port', () => {
  test('that is taken stops the start with a message that names it', async () => {
    const { port } = await serve();

    await expect(create().server.listen({ host, port })).rejects.toMatchObject({
      code: 'STARTUP',
      detail: expect.stringMatching(new RegExp(`--grpc-port.*127\\.0\\.0\\.1.*${port}`)),
    });
  });

  test('serves TLS and nothing else when it is given a certificate', async () => {
    const files = await tlsFiles();
    const { server, requests } = create();
    const port = await server.listen({ host, port: 0, tls: loadTls(files, 'grpc') });

    const outcome = await call(connect(port, trusting(files.cert)), createMethod, keyRequest);
    expect(outcome.code).toBe(0);

    const plain = await call(connect(port), createMethod, keyRequest, { deadline: Date.now() + 2000 });
    expect(plain.code).not.toBe(0);
    expect(requests).toHaveLength(1);
  });

  test('closes while connections are idle, shaking hands or silent', async () => {
    const files = await tlsFiles();
    const { server } = create();
    const port = await server.listen({ host, port: 0, tls: loadTls(files, 'grpc') });
    await call(connect(port, trusting(files.cert)), checkMethod, { service: '' });
    const silent = await open(port);

    await server.close(1000);

    await closed(silent);
  });
});

describe('close', () => {
  test.each([
    { name: 'its own port', shared: false, secure: false },
    { name: 'its own port with TLS', shared: false, secure: true },
    { name: 'a port shared with HTTP', shared: true, secure: false },
    { name: 'a port shared with HTTPS', shared: true, secure: true },
  ])('lets a call in flight finish on $name', async ({ shared, secure }) => {
    const { issue, started, finish } = gated();
    const tls = secure ? await tlsFiles() : undefined;
    const { server, port } = shared ? await share({ tls, issue }) : await serveWith({ tls, issue });
    const outcome = call(connect(port, tls && trusting(tls.cert)), createMethod, keyRequest);
    await started;

    let closed = false;
    const closing = server.close(60_000).then(() => {
      closed = true;
    });
    // More than one turn, because the connection is told to go away first.
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(closed).toBe(false);
    finish();

    expect((await outcome).code).toBe(0);
    await closing;
  });

  test('cuts off a call that outlasts its patience', async () => {
    const { issue, started } = gated();
    const { server, port } = await serve({ issue });
    const outcome = call(connect(port), createMethod, keyRequest);
    await started;

    await server.close(10);

    expect((await outcome).code).not.toBe(0);
  });

  test('drops a connection that is handed over afterwards', async () => {
    const { server, port } = await share();
    await server.close(1000);
    const socket = await open(port);

    socket.write(preface);

    await closed(socket);
  });
});

describe('a port shared with HTTP', () => {
  test('serves HTTP/1 and gRPC', async () => {
    const { port, requests } = await share();

    const response = await fetch(`http://${host}:${port}/path`, { method: 'POST', body: 'body' });
    expect(await response.text()).toBe('POST /path body');
    const outcome = await call(connect(port), createMethod, keyRequest);

    expect(outcome.code).toBe(0);
    expect(requests).toHaveLength(1);
  });

  test('serves both over TLS, by what the client negotiates', async () => {
    const files = await tlsFiles();
    const { port } = await share({ tls: files });

    const text = await new Promise<string>((resolve, reject) => {
      const request = httpsGet({ host, port, path: '/tls', ca: files.cert, checkServerIdentity: () => undefined });
      request.once('error', reject).once('response', async (response) => {
        resolve(Buffer.concat(await response.toArray()).toString());
      });
    });
    expect(text).toBe('GET /tls ');
    const outcome = await call(connect(port, trusting(files.cert)), createMethod, keyRequest);

    expect(outcome.code).toBe(0);
  });

  test.each([
    ['a browser or curl, which speak both', ['h2', 'http/1.1'], 'http/1.1'],
    ['a gRPC client', ['h2'], 'h2'],
    ['an old gRPC client', ['grpc-exp', 'h2'], 'h2'],
  ])('over TLS gives %s the protocol that serves it', async (_client, offered, chosen) => {
    const tls = await tlsFiles();
    const { port } = await share({ tls });
    const socket = connectTls({ host, port, ALPNProtocols: offered, rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    expect(socket.alpnProtocol).toBe(chosen);
    socket.destroy();
  });

  test('keeps several HTTP requests of one connection in order', async () => {
    const { port } = await share();
    const socket = await open(port);
    const received = collect(socket);

    socket.end(`${request('/1')}${request('/2')}${request('/3', 'Connection: close\r\n')}`);

    expect((await received).match(/GET \/\d/g)).toEqual(['GET /1', 'GET /2', 'GET /3']);
  });

  test('serves a request however it is cut into packets', async () => {
    const { port } = await share();
    const text = request('/cut', 'Connection: close\r\n').replace('GET', 'PROPFIND');

    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: text.length }), { maxLength: 4 }), async (cuts) => {
        const socket = await open(port);
        socket.setNoDelay(true);
        const received = collect(socket);
        let sent = 0;
        for (const cut of [...cuts.sort((a, b) => a - b), text.length]) {
          await new Promise((resolve) => socket.write(text.slice(sent, cut), resolve));
          await new Promise((resolve) => setImmediate(resolve));
          sent = Math.max(sent, cut);
        }
        expect(await received).toContain('PROPFIND /cut');
      }),
      { numRuns: 30 },
    );
  });

  test('hands an HTTP/2 preface over that comes byte by byte', async () => {
    const { port } = await share();
    const socket = await open(port);
    socket.setNoDelay(true);

    for (const byte of preface) {
      await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
    const [answer] = await once(socket, 'data');

    // A SETTINGS frame (RFC 9113 Section 6.5) at the start of the server's own preface.
    expect(answer[3]).toBe(4);
    socket.destroy();
  });

  test.each([
    { name: 'says nothing', bytes: '' },
    { name: 'stops in the middle of the preface', bytes: 'PRI * HT' },
  ])('drops a client that $name', async ({ bytes }) => {
    const { port } = await share({ timeoutMs: 30 });
    const socket = await open(port);

    socket.write(bytes);

    await closed(socket);
  });

  test('keeps the HTTP server’s own time limit for headers', async () => {
    const { port } = await share({ headersTimeoutMs: 30 });
    const socket = await open(port);
    const received = collect(socket);

    socket.write('GET / HTTP/1.1\r\nHost:');

    expect(await received).toContain('408');
  });

  test('outlives clients that reset the connection at any point', async () => {
    const { port } = await share();
    for (const bytes of ['', 'PRI', preface, 'GET /', request('/')]) {
      const socket = await open(port);
      if (bytes.length > 0) await new Promise((resolve) => socket.write(bytes, resolve));
      socket.resetAndDestroy();
    }

    expect((await call(connect(port), createMethod, keyRequest)).code).toBe(0);
  });

  test('closes although a client has said nothing yet', async () => {
    const { port, http, shared } = await share({ timeoutMs: 60_000 });
    const socket = await open(port);
    await fetch(`http://${host}:${port}/`);

    shared.close();
    await closed(socket);
    const late = await fetch(`http://${host}:${port}/late`, { headers: { Connection: 'close' } });
    await new Promise((resolve) => http.close(resolve));

    expect(await late.text()).toBe('GET /late ');
  });
});

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

function request(path: string, headers = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;
}

interface ShareOptions {
  readonly tls?: Awaited<ReturnType<typeof tlsFiles>> | undefined;
  readonly timeoutMs?: number;
  readonly headersTimeoutMs?: number;
  readonly issue?: GrpcDeps['issue'];
}

/** A gRPC server on a port of its own. */
async function serveWith({ tls, issue }: ShareOptions) {
  const made = create(issue && { issue });
  const port = await made.server.listen({ host, port: 0, ...(tls && { tls: loadTls(tls, 'grpc') }) });
  return { ...made, port };
}

/** An HTTP server that echoes the request, and a gRPC server on its port. */
async function share({ tls, timeoutMs = 10_000, headersTimeoutMs = 10_000, issue }: ShareOptions = {}) {
  const made = create(issue && { issue });
  const options = { headersTimeout: headersTimeoutMs, requestTimeout: 0, connectionsCheckingInterval: 10 };
  const http: Server = tls
    ? createHttpsServer({ ...options, cert: tls.cert, key: tls.key, ALPNCallback: sharedAlpn })
    : createServer(options);
  http.on('request', async (incoming, response) => {
    response.end(`${incoming.method} ${incoming.url} ${Buffer.concat(await incoming.toArray())}`);
  });
  const shared = shareWithGrpc(http, made.server.accept, timeoutMs);
  http.listen(0, host);
  await once(http, 'listening');
  closers.push(() => {
    shared.close();
    http.closeAllConnections();
    http.close();
  });
  return { ...made, http, shared, port: (http.address() as AddressInfo).port };
}

function trusting(root: Buffer) {
  return credentials.createSsl(root, null, null, { checkServerIdentity: () => undefined });
}

async function open(port: number): Promise<Socket> {
  const socket = connectTcp(port, host);
  socket.on('error', () => undefined);
  closers.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

async function closed(socket: Socket): Promise<void> {
  socket.resume();
  if (!socket.closed) await once(socket, 'close');
}

async function collect(socket: Socket): Promise<string> {
  return Buffer.concat(await socket.toArray()).toString();
}

/** An issue() that starts, and finishes when told. */
function gated() {
  const { deps } = create();
  let start = (): void => undefined;
  let finish = (): void => undefined;
  const started = new Promise<void>((resolve) => {
    start = resolve;
  });
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const issue: typeof deps.issue = async (...asked) => {
    start();
    await finished;
    return deps.issue(...asked);
  };
  return { issue, started, finish: () => finish() };
}
