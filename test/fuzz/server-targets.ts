import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { Client, credentials, Metadata, type StatusObject } from '@grpc/grpc-js';
import { hostileText } from './hostile.js';
import { hostileSpki } from './key-targets.js';
import { hostileMessage, hostileV1, hostileV2 } from './message-targets.js';
import { jsonText, mutateBytes, mutateJson } from './mutate.js';
import type { Random } from './random.js';
import type { Address } from './server-process.js';
import { bytesOf, must, type Target, textOf } from './target.js';

/** Longest time one request may take; the server's own limits are shorter, and the machine may be busy. */
const limitMs = 30_000;

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Latin-1, so that any bytes can be said. */
  readonly body: string;
  /** What no answer may hold. */
  readonly token: string;
}

const paths = ['/api/v2/signingCert', '/api/v1/signingCert'] as const;
const otherPaths = [
  '/',
  '/api/v1/rootCert',
  '/api/v2/trustBundle',
  '/api/v2/configuration',
  '/readyz',
  '/ctlog/ct/v1/get-sth',
  '/ctlog/ct/v1/get-entries?start=-1&end=9999999999999999',
  '/ctlog/ct/v1/get-proof-by-hash?hash=AA&tree_size=1',
  '/ctlog/ct/v1/add-pre-chain',
  '/ctlog/tile/0/000',
  '/ctlog/tile/data/x999/999',
  '/ctlog/../../keys/ca/key.pem',
  '/api/v2/signingCert/',
  '/api//v2/signingCert',
  '/api/v2/signingCert?x=%zz',
  '/%00',
  '/%',
  '/..%2f..%2fetc/passwd',
];
const submitPaths = ['/ctlog/ct/v1/add-chain', '/ctlog/ct/v1/add-pre-chain'];

function hostileChain(random: Random): string {
  const chain = Array.from({ length: random.below(4) }, () => hostileSpki(random).toString('base64'));
  return jsonText(random, random.chance(0.5) ? { chain } : mutateJson(random, { chain })).replace(/[^\x20-\x7e]/g, '?');
}

const methods = ['GET', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'POST'];
const headerNames = [
  'Content-Type',
  'X-Request-Id',
  'Authorization',
  'Origin',
  'X-HTTP-Method-Override',
  'Content-Encoding',
  'Accept',
  'Cookie',
];

function makeRequest(random: Random): string {
  const path = random.pick(paths);
  const { body, token } = path === paths[0] ? hostileV2(random) : hostileV1(random);
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (path === paths[1] || random.chance(0.1)) headers.authorization = headerValue(`Bearer ${token}`);
  if (random.chance(0.2)) headers[random.pick(headerNames).toLowerCase()] = headerValue(hostileText(random));
  const sent: Sent = { method: 'POST', path, headers, body: Buffer.from(body).toString('latin1'), token };
  if (random.chance(0.9)) return JSON.stringify(sent);
  if (random.chance(0.3))
    return JSON.stringify({ ...sent, path: random.pick(submitPaths), body: hostileChain(random) });
  return JSON.stringify({ ...sent, method: random.pick(methods), path: random.pick([...otherPaths, ...paths]) });
}

/** What Node lets through as the value of a header, and less than a server's limit for all of them. */
const headerValue = (text: string): string => text.replace(/[^\t\x20-\x7e\x80-\xff]/g, '?').slice(0, 12_000);

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

function send(port: number, agent: Agent, sent: Sent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method, path, headers } = sent;
    const body = Buffer.from(sent.body, 'latin1');
    const options = {
      host: '127.0.0.1',
      port,
      agent,
      method,
      path,
      headers: { ...headers, 'content-length': body.length },
    };
    const asked = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(chunks).toString(),
        }),
      );
    });
    asked.setTimeout(limitMs, () => asked.destroy(new Error(`no answer within ${limitMs} ms`)));
    asked.on('error', (error: NodeJS.ErrnoException) => {
      // The server may close a connection for being idle in the moment it is used again: ask on another, as clients do.
      if (asked.reusedSocket && error.code === 'ECONNRESET') send(port, agent, sent).then(resolve, reject);
      else reject(error);
    });
    asked.end(body);
  });
}

const trace = /\n\s+at |node_modules|\.[jt]s:\d+/;

function checkAnswer(answer: Answer, token: string): void {
  const { status, text } = answer;
  must(status < 500 || status === 501, `status ${status}: ${text.slice(0, 300)}`);
  must(!trace.test(text), `a stack trace in the answer: ${text.slice(0, 300)}`);
  for (const segment of token.split('.')) {
    must(segment.length < 40 || !text.includes(segment), `the token in the answer: ${text.slice(0, 300)}`);
  }
  // 431 is Node's, for headers longer than any token: it comes before there is a request.
  if (status < 400 || status === 431) return;
  const body = JSON.parse(text) as {
    code: unknown;
    message: unknown;
    details: { reason: string; metadata: { requestId: string } }[];
  };
  const [info] = body.details;
  must(typeof body.code === 'number' && typeof body.message === 'string', `no code or message: ${text.slice(0, 300)}`);
  must(/^[A-Z_]+$/.test(info?.reason ?? ''), `no reason: ${text.slice(0, 300)}`);
  must(info?.metadata.requestId === answer.headers['x-request-id'], 'the request id is not the header');
}

/** Bytes on a connection of their own, closed behind them; resolves with everything that came back. */
function sendRaw(port: number, bytes: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(port, '127.0.0.1', () => socket.end(bytes));
    socket.setTimeout(limitMs, () => socket.destroy(new Error(`the connection stood for ${limitMs} ms`)));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      // A server may close on bytes it does not want to read.
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') resolve(Buffer.concat(chunks).toString('latin1'));
      else reject(error);
    });
    socket.once('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
}

function makeRaw(random: Random): Buffer {
  const { path, headers, body } = JSON.parse(makeRequest(random)) as Sent;
  const lines = Object.entries({ host: 'fuzz.test', ...headers }).map(([name, value]) => `${name}: ${value}`);
  const head = [`POST ${path} HTTP/1.1`, ...lines, `content-length: ${body.length}`, 'connection: close'].join('\r\n');
  // Only the head and a little more: what follows is the body's, which `http` mutates with more sense.
  if (random.chance(0.2))
    return Buffer.from(`GET ${random.pick(otherPaths)} HTTP/1.1\r\nhost: fuzz.test\r\nconnection: close\r\n\r\n`);
  const bytes = mutateBytes(random, Buffer.from(`${head}\r\n\r\n${body.slice(0, 200)}`, 'latin1'));
  return random.chance(0.2) ? Buffer.concat([bytes, bytes]) : bytes;
}

const createPath = '/dev.sigstore.fulcio.v2.CA/CreateSigningCertificate';
/** INTERNAL, UNKNOWN, UNAVAILABLE and DEADLINE_EXCEEDED: what a request must not be able to cause. */
const badCodes = [13, 2, 14, 4];

function callGrpc(client: Client, bytes: Buffer): Promise<StatusObject> {
  return new Promise((resolve) => {
    const same = (value: Buffer): Buffer => value;
    client
      .makeUnaryRequest(
        createPath,
        same,
        same,
        bytes,
        new Metadata(),
        { deadline: Date.now() + limitMs },
        () => undefined,
      )
      .on('status', resolve);
  });
}

/** Targets that ask a running server; `close` ends their connections. */
export function serverTargets({ port, grpcPort }: Address) {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const client = new Client(`127.0.0.1:${grpcPort}`, credentials.createInsecure());
  const http: Target = {
    weight: 4.3,
    make: makeRequest,
    async run(input) {
      const sent = JSON.parse(textOf(input)) as Sent;
      const answer = await send(port, agent, sent);
      checkAnswer(answer, sent.token);
      return answer.status < 300;
    },
  };
  const raw: Target = {
    weight: 0.2,
    make: makeRaw,
    async run(input) {
      const answer = await sendRaw(port, bytesOf(input));
      const status = /^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? '';
      must(!/HTTP\/1\.1 50[02-9]/.test(answer), `the answer ${answer.slice(0, 300)}`);
      must(!trace.test(answer), `a stack trace in the answer: ${answer.slice(0, 300)}`);
      return status.startsWith('2');
    },
  };
  const grpc: Target = {
    weight: 0.7,
    make: hostileMessage,
    async run(input) {
      const { code, details } = await callGrpc(client, bytesOf(input));
      must(!badCodes.includes(code), `gRPC status ${code}: ${details.slice(0, 300)}`);
      must(!trace.test(details), `a stack trace in the answer: ${details.slice(0, 300)}`);
      return code === 0;
    },
  };
  const close = (): void => {
    agent.destroy();
    client.close();
  };
  return { targets: { http, raw, grpc }, close };
}
