import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { rpcRetryInfo, rpcStatus } from '../../src/grpc/definitions.js';
import { issuingShortcut } from '../../src/http/issuing-routes.js';
import { type Intake, openIntake } from '../../src/limits/intake.js';
import { createMetrics } from '../../src/metrics.js';
import type { RunningServer } from '../../src/server/start.js';
import { call, closeAll, connect, createMethod, type Outcome } from '../grpc/support.js';
import { emailConfig, emailConfigText, eventually, start, temporary } from '../server/lab.js';
import { type Answer, newKey, post, v2Body } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';

let issuer: TestIssuer;
/** An issuer that never answers: whoever brings its token stays in work. */
let silent: Server;
let silentUrl: string;
beforeAll(async () => {
  issuer = await startIssuer({ alg: 'ES256' });
  silent = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  silentUrl = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await issuer.close();
  silent.closeAllConnections();
  silent.close();
});

const open: RunningServer[] = [];
afterEach(async () => {
  // Ends what is in work, which a server that closes waits for.
  silent.closeAllConnections();
  await closeAll();
  await Promise.all(open.splice(0).map((server) => server.close()));
});

async function serve(flags: Record<string, string>, lines: string[] = []): Promise<RunningServer> {
  const dir = temporary();
  const config = emailConfig(dir, issuer.url, silentUrl);
  const server = await start({ 'data-dir': join(dir, 'data'), 'config-path': config, ...flags }, lines);
  open.push(server);
  return server;
}

const key = newKey();
const mailOf = (name: string): string => `${name}@example.com`;

async function ask(server: RunningServer, name: string, headers: Record<string, string> = {}): Promise<Answer> {
  const token = await issuer.token({ email: mailOf(name), email_verified: true });
  return post(`${server.url}/api/v2/signingCert`, v2Body(token, mailOf(name), key), headers);
}

const reasonOf = (answer: Answer): string =>
  answer.status === 200 ? 'issued' : (JSON.parse(answer.text) as { details: [{ reason: string }] }).details[0].reason;

async function metric(server: RunningServer, line: RegExp): Promise<string | undefined> {
  return line.exec(await (await fetch(server.metricsUrl)).text())?.[0];
}

/** Sends a request whose work does not end, and returns when it is in work. */
async function occupy(server: RunningServer): Promise<void> {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { iss: silentUrl, aud: 'sigstore', sub: 'x', exp: Math.floor(Date.now() / 1000) + 600 };
  const token = `${part({ alg: 'ES256', kid: 'k' })}.${part(claims)}.${part({})}`;
  post(`${server.url}/api/v2/signingCert`, v2Body(token, 'x', key)).catch(() => undefined);
  await eventually(async () => (await metric(server, /mayfly_requests_in_work 1\n/)) !== undefined);
}

describe('limits', () => {
  test('an identity over its limit gets 429 with Retry-After and the RateLimit fields; others are served', async () => {
    const server = await serve({ 'limit-identity': '2/1h' });
    const answers = [];
    for (let i = 0; i < 3; i++) answers.push(await ask(server, 'jane'));
    expect(answers.map(reasonOf)).toEqual(['issued', 'issued', 'QUOTA_EXCEEDED']);
    expect(answers.map(({ headers }) => headers.get('ratelimit-policy'))).toEqual(
      Array(3).fill('"identity";q=2;w=3600'),
    );
    expect(answers[0]?.headers.get('ratelimit')).toMatch(/^"identity";r=1;t=3[56]\d\d$/);
    expect(answers[2]?.headers.get('ratelimit')).toMatch(/^"identity";r=0;t=3[56]\d\d$/);
    expect(answers[2]?.headers.get('retry-after')).toMatch(/^3[56]\d\d$/);
    expect(answers[2]).toMatchObject({ status: 429, type: 'application/json' });
    expect(JSON.parse(answers[2]?.text ?? '')).toMatchObject({
      code: 8,
      message: expect.stringContaining('more than 2 certificates for this identity within 3600 s'),
    });
    expect(reasonOf(await ask(server, 'john'))).toBe('issued');
    expect(await metric(server, /mayfly_limit_refusals_total\{limit="identity"\} 1/)).toBeDefined();
    expect(await metric(server, /mayfly_rejections_total\{[^}]*reason="QUOTA_EXCEEDED"[^}]*\} 1/)).toBeDefined();
  });

  test('gRPC shares the count, and says when to try again', async () => {
    const server = await serve({ 'limit-identity': '1/1h' });
    await ask(server, 'jane');
    const outcome = await grpcAsk(server, 'jane');
    expect(outcome).toMatchObject({ code: 8, details: { info: { reason: 'QUOTA_EXCEEDED', domain: 'mayfly' } } });
    expect(retryDelayOf(outcome)).toBeGreaterThan(3500);
    expect(outcome.trailers.get('retry-after')).toEqual([String(retryDelayOf(outcome))]);
    expect((await grpcAsk(server, 'john')).code).toBe(0);
  });

  test('an identity over its limit uses up nothing of its issuer’s', async () => {
    const server = await serve({ 'limit-identity': '1/1h', 'limit-issuer': '3/1h' });
    const reasons = [];
    for (const name of ['a', 'a', 'a', 'b', 'c', 'd']) reasons.push(reasonOf(await ask(server, name)));
    expect(reasons).toEqual(['issued', 'QUOTA_EXCEEDED', 'QUOTA_EXCEEDED', 'issued', 'issued', 'QUOTA_EXCEEDED']);
  });

  test('a token that does not verify counts against nobody', async () => {
    const server = await serve({ 'limit-identity': '1/1h' });
    const token = await issuer.token({ email: mailOf('jane'), email_verified: true });
    const forged = `${token.slice(0, token.lastIndexOf('.'))}.${Buffer.alloc(64).toString('base64url')}`;
    const answer = await post(`${server.url}/api/v2/signingCert`, v2Body(forged, mailOf('jane'), key));
    expect(reasonOf(answer)).toBe('TOKEN_SIGNATURE_INVALID');
    expect(reasonOf(await ask(server, 'jane'))).toBe('issued');
  });

  test('a reload of the configuration forgets no count', async () => {
    const dir = temporary();
    const file = emailConfig(dir, issuer.url);
    const server = await serve({ 'limit-identity': '1/1h', 'config-path': file });
    expect(reasonOf(await ask(server, 'jane'))).toBe('issued');
    writeFileSync(file, emailConfigText(issuer.url, 'https://new.example'));
    server.reload('test');
    expect(await metric(server, /mayfly_identity_config_generation 2/)).toBeDefined();
    expect(reasonOf(await ask(server, 'jane'))).toBe('QUOTA_EXCEEDED');
  });
});

describe('the limit of an address', () => {
  const garbage = (server: RunningServer, headers: Record<string, string> = {}): Promise<Answer> =>
    post(`${server.url}/api/v2/signingCert`, 'no JSON at all', headers);

  test('comes before body and token, counts what is refused, and names the header fields', async () => {
    const server = await serve({ 'limit-address': '2/1h' });
    const answers = [await garbage(server), await garbage(server), await garbage(server)];
    expect(answers.map(reasonOf)).toEqual(['BODY_MALFORMED', 'BODY_MALFORMED', 'QUOTA_EXCEEDED']);
    expect(answers[0]?.headers.get('ratelimit')).toMatch(/^"address";r=1;/);
    expect((await grpcAsk(server, 'jane')).code).toBe(8);
  });

  test('cannot be got around by headers that the client writes', async () => {
    const server = await serve({ 'limit-address': '1/1h' });
    const names = ['X-Forwarded-For', 'X-Real-IP', 'Forwarded', 'True-Client-IP', 'CF-Connecting-IP'];
    const reasons = [];
    for (const name of names) reasons.push(reasonOf(await garbage(server, { [name]: '192.0.2.1' })));
    expect(reasons.slice(1)).toEqual(Array(4).fill('QUOTA_EXCEEDED'));
  });

  test('follows what a trusted proxy says, and not what stands before it in the header', async () => {
    const server = await serve({
      'limit-address': '1/1h',
      'client-address': 'x-forwarded-for',
      'trusted-proxies': '127.0.0.0/8',
    });
    const from = async (header: string): Promise<string> =>
      reasonOf(await garbage(server, { 'X-Forwarded-For': header }));
    expect(await from('192.0.2.1')).toBe('BODY_MALFORMED');
    expect(await from('192.0.2.2')).toBe('BODY_MALFORMED');
    expect(await from('198.51.100.9, 192.0.2.1')).toBe('QUOTA_EXCEEDED');
    expect(await from('2001:db8:1:2::1')).toBe('BODY_MALFORMED');
    expect(await from('2001:db8:1:2:3:4:5:6')).toBe('QUOTA_EXCEEDED');
    expect(await from('not an address')).toBe('BODY_MALFORMED');
  });

  test('reads are not counted and not refused', async () => {
    const server = await serve({ 'limit-address': '1/1h' });
    await garbage(server);
    expect(reasonOf(await garbage(server))).toBe('QUOTA_EXCEEDED');
    for (const path of [
      '/healthz',
      '/readyz',
      '/api/v2/trustBundle',
      '/trust/trusted_root.json',
      '/ctlog/checkpoint',
    ]) {
      expect([path, (await fetch(`${server.url}${path}`)).status]).toEqual([path, 200]);
    }
  });
});

describe('overload', () => {
  test('what finds no place is refused before its body is read, over HTTP and gRPC; reads are served', async () => {
    const lines: string[] = [];
    const server = await serve({ 'max-in-flight': '1' }, lines);
    await occupy(server);
    // The first one may wait, in vain; from then on nothing waits.
    expect(reasonOf(await ask(server, 'jane'))).toBe('OVERLOADED');
    const answer = await withoutBody(server, 'Content-Length: 3000000');
    expect(answer).toMatch(/^HTTP\/1\.1 429 /);
    expect(answer).toMatch(/\r\nRetry-After: [123]\r\n/);
    expect(answer).toContain('"reason":"OVERLOADED"');
    const grpc = await grpcAsk(server, 'jane');
    expect(grpc).toMatchObject({ code: 8, details: { info: { reason: 'OVERLOADED' } } });
    expect([1, 2, 3]).toContain(retryDelayOf(grpc));
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
    expect(await metric(server, /mayfly_limit_refusals_total\{limit="overload"\} 3/)).toBeDefined();
    expect(lines.filter((line) => line.includes('the excess is refused'))).toHaveLength(1);
  });

  test('a client that went away while it waited is not worked for', async () => {
    const asked: string[] = [];
    let begin: () => void = () => undefined;
    const waited = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const ended: string[] = [];
    const intake: Intake = {
      ...openIntake,
      run: (_signal, work) => waited.then(work).finally(() => ended.push('run')),
    };
    const issue = async (): Promise<never> => {
      asked.push('issue');
      throw new Error('not to be reached');
    };
    const logger = pino({ level: 'silent' });
    const deps = { issue, intake, logger, metrics: createMetrics('0', '0'), requestTimeoutMs: 5000 };
    const shortcut = issuingShortcut({ ...deps, clientAddress: () => undefined });
    const server = createServer((request, response) => {
      response.once('close', () => begin());
      shortcut(request, response);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = connectSocket((server.address() as AddressInfo).port, '127.0.0.1');
    socket.write('POST /api/v2/signingCert HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}', () =>
      setTimeout(() => socket.destroy(), 50),
    );
    await eventually(() => ended.length === 1);
    expect(asked).toEqual([]);
    server.close();
  });
});

describe('slow clients', () => {
  const quick = { 'read-header-timeout': '500ms', 'read-body-timeout': '500ms' };

  test.each([
    { name: 'that says nothing', first: '', rest: '' },
    { name: 'that trickles headers', first: 'POST /api/v2/signingCert HTTP/1.1\r\nHost: x\r\n', rest: 'X-A: b\r\n' },
    {
      name: 'that trickles its body',
      first: 'POST /api/v2/signingCert HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n',
      rest: '{',
    },
    {
      name: 'that trickles chunks',
      first: 'POST /api/v2/signingCert HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
      rest: '1\r\n \r\n',
    },
  ])('a client $name is cut off, and takes no place meanwhile', async ({ first, rest }) => {
    const server = await serve({ ...quick, 'max-in-flight': '1' });
    const text = trickle(server, first, rest);
    expect(reasonOf(await ask(server, 'jane'))).toBe('issued');
    expect(await text).toMatch(/^(HTTP\/1\.1 408 |$)/);
  });

  test('headers past their limit are 431', async () => {
    const server = await serve({});
    const head = `GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: ${'x'.repeat(140_000)}\r\n\r\n`;
    expect(await trickle(server, head, '')).toMatch(/^HTTP\/1\.1 431 /);
  });

  test('connections past their limit are closed, and there is room again when others end', async () => {
    const server = await serve({ 'max-connections': '2' });
    const { port } = new URL(server.url);
    const sockets = [connectSocket(Number(port), '127.0.0.1'), connectSocket(Number(port), '127.0.0.1')];
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    expect(await trickle(server, 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n', '')).toBe('');
    for (const socket of sockets) socket.destroy();
    await eventually(async () => (await fetch(`${server.url}/healthz`).catch(() => undefined))?.status === 200);
  });
});

/** Sends some text and then, every 50 ms, some more, until the server ends the connection; resolves with what it said. */
function trickle(server: RunningServer, first: string, rest: string): Promise<string> {
  const socket = connectSocket(Number(new URL(server.url).port), '127.0.0.1');
  let text = '';
  socket.write(first);
  const timer = setInterval(() => void (rest !== '' && socket.write(rest)), 50);
  socket.on('data', (chunk) => {
    text += chunk.toString();
  });
  socket.on('error', () => undefined);
  return new Promise((resolve) =>
    socket.once('close', () => {
      clearInterval(timer);
      resolve(text);
    }),
  );
}

/** What the server answers to the head of a certificate request alone. */
async function withoutBody(server: RunningServer, header: string): Promise<string> {
  const socket = connectSocket(Number(new URL(server.url).port), '127.0.0.1');
  socket.write(`POST /api/v2/signingCert HTTP/1.1\r\nHost: x\r\n${header}\r\n\r\n`);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return chunk.toString();
}

async function grpcAsk(server: RunningServer, name: string): Promise<Outcome> {
  const token = await issuer.token({ email: mailOf(name), email_verified: true });
  const body = JSON.parse(v2Body(token, mailOf(name), key)) as {
    publicKeyRequest: { publicKey: { content: string }; proofOfPossession: string };
  };
  const { publicKey, proofOfPossession } = body.publicKeyRequest;
  return call(connect(server.grpcPort), createMethod, {
    credentials: { oidc_identity_token: token },
    public_key_request: {
      public_key: { algorithm: 2, content: publicKey.content },
      proof_of_possession: Buffer.from(proofOfPossession, 'base64'),
    },
  });
}

/** Seconds of the google.rpc.RetryInfo in a status. */
function retryDelayOf({ trailers }: Outcome): number {
  const [bytes] = trailers.get('grpc-status-details-bin');
  const status = rpcStatus.deserialize(bytes as Buffer) as { details: { type_url: string; value: Buffer }[] };
  const info = status.details.find(({ type_url }) => type_url === 'type.googleapis.com/google.rpc.RetryInfo');
  if (info === undefined) throw new Error('there is no RetryInfo');
  return Number((rpcRetryInfo.deserialize(info.value) as { retry_delay: { seconds: string } }).retry_delay.seconds);
}
