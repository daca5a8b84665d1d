import { Router } from 'express';
import { pino } from 'pino';
import request from 'supertest';
import { ctlogRoutes } from '../../src/ctlog/routes.js';
import { AppError } from '../../src/errors.js';
import { type AppDeps, createApp } from '../../src/http/app.js';
import type { Issued, IssueRequest } from '../../src/issue.js';
import { openIntake } from '../../src/limits/intake.js';
import { createMetrics } from '../../src/metrics.js';
import { newLogKey, openLog, submission, temporaryDirectory } from '../ctlog/fixtures.js';

const chainPem = ['-----BEGIN CERTIFICATE-----\nQ0E=\n-----END CERTIFICATE-----\n'];
const issued = (sct: boolean): Issued =>
  ({ certificate: Buffer.from('leaf'), ca: { chainPem }, scts: sct ? [{}] : undefined }) as unknown as Issued;

function lab(overrides: Partial<AppDeps> = {}) {
  const seen: IssueRequest[] = [];
  const metrics = createMetrics('0.0.0', 'v20');
  const app = createApp({
    issue: async (asked) => {
      seen.push(asked);
      return issued(true);
    },
    trustBundle: () => [chainPem],
    configuration: () => ({ issuers: [] }),
    readiness: () => [{ name: 'ct-log', ok: true }],
    trustFiles: () => new Map([['ca.pem', { type: 'application/x-pem-file', text: chainPem.join(''), etag: '"one"' }]]),
    ctlogRoutes: new Map(),
    metrics,
    logger: pino({ level: 'silent' }),
    requestTimeoutMs: 1000,
    clientAddress: (peer: string | undefined) => peer,
    intake: openIntake,
    ...overrides,
  });
  return { app, seen, metrics };
}

const failing = (error: unknown): Partial<AppDeps> => ({ issue: () => Promise.reject(error) });

describe('POST signingCert', () => {
  test('v2 answers 200 with the chain as JSON, leaf first', async () => {
    const answer = await request(lab().app).post('/api/v2/signingCert').send({});
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('application/json');
    const chain = answer.body.signedCertificateEmbeddedSct.chain.certificates;
    expect(chain).toEqual(['-----BEGIN CERTIFICATE-----\nbGVhZg==\n-----END CERTIFICATE-----\n', ...chainPem]);
  });

  test('without an SCT, v2 answers in the detached shape', async () => {
    const { app } = lab({ issue: async () => issued(false) });
    const answer = await request(app).post('/api/v2/signingCert').send({});
    expect(answer.body.signedCertificateDetachedSct).toMatchObject({ signedCertificateTimestamp: '' });
  });

  test('v1 answers 201 with a PEM chain', async () => {
    const answer = await request(lab().app).post('/api/v1/signingCert').send({}).buffer(true).parse(asText);
    expect(answer.status).toBe(201);
    expect(answer.headers['content-type']).toBe('application/pem-certificate-chain');
    expect(answer.body).toMatch(/^-----BEGIN CERTIFICATE-----\nbGVhZg==\n/);
  });

  test.each(['text/plain', 'application/json; charset=utf-8', 'application/x-www-form-urlencoded', 'image/png'])(
    'content type %s does not matter',
    async (type) => {
      const { app, seen } = lab();
      const body = '{"credentials":{"oidcIdentityToken":"t"}}';
      expect((await request(app).post('/api/v2/signingCert').set('Content-Type', type).send(body)).status).toBe(200);
      expect(seen[0]?.token).toBe('t');
    },
  );

  test.each(['get', 'put', 'delete', 'options', 'head'] as const)('%s is 501 as in Fulcio', async (method) => {
    expect((await request(lab().app)[method]('/api/v2/signingCert')).status).toBe(501);
  });

  test('a body over 4 MiB gets its answer, not a cut connection', async () => {
    const answer = await request(lab().app).post('/api/v2/signingCert').send('x'.repeat(5_000_000));
    expect(answer.status).toBe(400);
    expect(answer.body.details[0].reason).toBe('BODY_TOO_LARGE');
  });

  test('a body of 3 MB of spaces before the object is read', async () => {
    expect(
      (
        await request(lab().app)
          .post('/api/v2/signingCert')
          .send(`${' '.repeat(3_000_000)}{}`)
      ).status,
    ).toBe(200);
  });

  test('a content-encoding is refused by name', async () => {
    const post = request(lab().app).post('/api/v2/signingCert').set('Content-Encoding', 'gzip').send('{}');
    expect((await post).body.details[0].reason).toBe('BODY_ENCODING_UNSUPPORTED');
  });
});

describe('errors', () => {
  test('carry code, sentence, reason and the request id of the header', async () => {
    const { app } = lab(failing(new AppError('TOKEN_EXPIRED', 'token expired 35 s ago')));
    const answer = await request(app).post('/api/v2/signingCert').set('X-Request-Id', 'abc-1').send({});
    expect(answer.status).toBe(400);
    expect(answer.body).toEqual({
      code: 3,
      message: 'There was an error processing the identity token: token expired 35 s ago',
      details: [
        {
          '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
          reason: 'TOKEN_EXPIRED',
          domain: 'mayfly',
          metadata: { requestId: 'abc-1' },
        },
      ],
    });
    expect(answer.headers['x-request-id']).toBe('abc-1');
  });

  test('that nobody foresaw are 500 with nothing of their text', async () => {
    const { app } = lab(failing(new Error('secret in here')));
    const answer = await request(app).post('/api/v2/signingCert').send({});
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain('secret');
  });

  test('say when to come back', async () => {
    const { app } = lab(failing(new AppError('CT_LOG_UNAVAILABLE', 'the disk is full', { retryAfterSeconds: 3 })));
    const answer = await request(app).post('/api/v1/signingCert').send({});
    expect([answer.status, answer.headers['retry-after'], answer.body.code]).toEqual([503, '3', 14]);
  });

  test.each(['/', '/api/v2/nothing', '/api/v2/signingCert/', '/API/v2/signingCert', '/%'])(
    '%s is not found',
    async (path) => {
      const answer = await request(lab().app).get(path);
      expect([answer.status, answer.body.code]).toEqual([404, 5]);
    },
  );

  test('a request id with other characters is not echoed', async () => {
    const answer = await request(lab().app).get('/healthz').set('X-Request-Id', 'a b"c');
    expect(answer.headers['x-request-id']).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe('CORS', () => {
  test('is open, for preflights with a token too', async () => {
    const preflight = request(lab().app)
      .options('/api/v2/signingCert')
      .set('Origin', 'https://example.com')
      .set('Access-Control-Request-Method', 'POST')
      .set('Access-Control-Request-Headers', 'authorization,content-type');
    const answer = await preflight;
    expect(answer.status).toBe(204);
    expect(answer.headers['access-control-allow-origin']).toBe('*');
    expect(answer.headers['access-control-allow-headers']).toContain('authorization');
  });
});

describe('the read endpoints', () => {
  test.each([
    ['/api/v1/rootCert', 'application/pem-certificate-chain', chainPem.join('')],
    ['/api/v2/trustBundle', 'application/json', JSON.stringify({ chains: [{ certificates: chainPem }] })],
    ['/api/v2/configuration', 'application/json', '{"issuers":[]}'],
    ['/trust/ca.pem', 'application/x-pem-file', chainPem.join('')],
    ['/healthz', 'application/json', '{"status":"SERVING"}'],
    ['/healthz?service=x', 'application/json', '{"status":"SERVING"}'],
  ])('GET %s', async (path, type, body) => {
    const answer = await request(lab().app).get(path).buffer(true).parse(asText);
    expect([answer.status, answer.headers['content-type'], answer.body]).toEqual([200, type, body]);
  });

  test('POST is 501, but for a form-encoded method override', async () => {
    const { app } = lab();
    expect((await request(app).post('/api/v2/trustBundle').send({})).status).toBe(501);
    const override = request(app).post('/api/v2/trustBundle').type('form').set('X-HTTP-Method-Override', 'GET');
    expect((await override.send('')).status).toBe(200);
  });

  test('/readyz is 503 with the reason while a dependency fails', async () => {
    const { app } = lab({ readiness: () => [{ name: 'ct-log', ok: false, reason: 'the disk is full' }] });
    const answer = await request(app).get('/readyz');
    expect(answer.status).toBe(503);
    expect(answer.body).toEqual({
      status: 'NOT_READY',
      checks: [{ name: 'ct-log', ok: false, required: true, reason: 'the disk is full' }],
    });
  });

  test('/readyz is 200 while only what is not required fails, and lists it', async () => {
    const check = {
      name: 'issuer',
      target: 'https://issuer.example',
      ok: false,
      required: false,
      reason: 'it is down',
    };
    const { app } = lab({ readiness: () => [check] });
    const answer = await request(app).get('/readyz');
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ status: 'READY', checks: [check] });
  });

  test('the log has its own routes under /ctlog', async () => {
    const routes = Router().get('/checkpoint', (_request, response) => void response.end('head'));
    expect(
      (await request(lab({ ctlogRoutes: new Map([['/ctlog', routes]]) }).app).get('/ctlog/checkpoint')).status,
    ).toBe(200);
  });
});

test('a tile out of memory, past Express, is answered as it is by Express, and so are parts and conditions', async () => {
  const directory = temporaryDirectory();
  const log = await openLog(directory.path, newLogKey());
  try {
    await Promise.all(Array.from({ length: 256 }, () => log.submit(submission())));
    const { app, metrics } = lab({ ctlogRoutes: new Map([['/ctlog', ctlogRoutes(log)]]) });
    const tile = (headers = {}) =>
      request(app)
        .get('/ctlog/tile/0/000')
        .set(headers)
        .buffer(true)
        .parse((response, done) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => done(null, Buffer.concat(chunks)));
        });
    // The first is read from the log, the query keeps the second from the way past Express.
    const [read, slow] = [await tile(), await tile().query('x')];
    const fast = await tile({ 'X-Request-Id': 'mine' });
    const seen = ({ status, body, headers: { date, 'x-request-id': id, ...headers } }: typeof fast) => ({
      status,
      body,
      headers,
    });
    expect(seen(fast)).toEqual(seen(read));
    expect(seen(fast)).toEqual(seen(slow));
    expect(fast.body).toHaveLength(256 * 32);
    expect(fast.headers['x-request-id']).toBe('mine');
    expect((await tile({ Range: 'bytes=0-31' })).body).toHaveLength(32);
    expect((await tile({ 'If-None-Match': fast.headers.etag })).status).toBe(304);
    expect((await request(app).post('/ctlog/tile/0/000')).status).toBe(501);
    expect(await metrics.registry.metrics()).toMatch(/http_requests_total\{code="200",method="get"\} 3/);
  } finally {
    await log.close();
    directory.dispose();
  }
});

test("requests and latencies are counted under Fulcio's names", async () => {
  const { app, metrics } = lab();
  await request(app).post('/api/v2/signingCert').send({});
  const text = await metrics.registry.metrics();
  expect(text).toMatch(/http_requests_total\{code="200",method="post"\} 1/);
  expect(text).toMatch(/fulcio_api_latency_count\{code="200",method="post"\} 1/);
  expect(text).toMatch(/fulcio_build_info\{/);
});

function asText(response: request.Response, done: (error: Error | null, body: string) => void): void {
  let text = '';
  const stream = response as unknown as NodeJS.ReadableStream;
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  stream.on('end', () => done(null, text));
}
