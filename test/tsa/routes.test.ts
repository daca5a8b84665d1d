import { once } from 'node:events';
import { request as httpRequest, type Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { addFallbacks, newApp } from '../../src/http/app.js';
import { createMetrics, type Metrics } from '../../src/metrics.js';
import { createTsaMetrics } from '../../src/tsa/metrics.js';
import { tsaRoutes } from '../../src/tsa/routes.js';
import { oids, openTestTsa, pemOf, query, readReply, type TestTsa } from './lab.js';

const queryType = 'application/timestamp-query';
const replyType = 'application/timestamp-reply';
const artifactHash = Buffer.alloc(32, 7).toString('base64');

let tsa: TestTsa;
let metrics: Metrics;
let server: Server;
let url: string;

beforeAll(async () => {
  tsa = await openTestTsa();
  metrics = createMetrics('test', 'test');
  const logger = pino({ level: 'silent' });
  const app = newApp({ metrics, logger });
  app.use(tsaRoutes({ authority: tsa.authority, metrics: createTsaMetrics(metrics.registry), logger }));
  addFallbacks(app, { metrics, logger });
  server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/api/v1/timestamp`;
});
afterAll(() => {
  server.close();
});

async function post(body: Uint8Array | string, type: string = queryType) {
  const response = await fetch(url, { method: 'POST', body, headers: { 'Content-Type': type } });
  const bytes = Buffer.from(await response.arrayBuffer());
  return { status: response.status, type: response.headers.get('content-type'), headers: response.headers, bytes };
}

describe('POST /api/v1/timestamp', () => {
  test('answers a query with a timestamp', async () => {
    const answer = await post(query({ nonce: Uint8Array.of(5) }));
    expect(answer).toMatchObject({ status: 200, type: replyType });
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(readReply(answer.bytes)).toMatchObject({ status: 0, info: { version: 1 } });
  });

  test('answers the JSON form with the same', async () => {
    const body = JSON.stringify({ artifactHash, hashAlgorithm: 'sha256', certificates: true, nonce: 5 });
    const answer = await post(body, 'application/json; charset=utf-8');
    expect(answer).toMatchObject({ status: 200, type: replyType });
    expect(readReply(answer.bytes).signedData?.certificates).toHaveLength(1);
  });

  test.each<[string, Parameters<typeof query>[0], number, RegExp]>([
    ['badAlg', { algorithm: oids.sha1, digest: new Uint8Array(20) }, 0, /1\.3\.14\.3\.2\.26; expected sha256/],
    ['badRequest', { version: 3 }, 2, /version 3; expected 1/],
    ['badDataFormat', { digest: new Uint8Array(5) }, 5, /5 bytes; expected 32 for sha256/],
    ['unacceptedPolicy', { policy: '1.2.3.4' }, 15, /1\.2\.3\.4; the one here is/],
  ])('tells a query of %s by a reply with the failure', async (_name, parts, failureBit, text) => {
    const answer = await post(query(parts));
    expect(answer).toMatchObject({ status: 400, type: replyType });
    const reply = readReply(answer.bytes);
    expect(reply).toMatchObject({ status: 2, failureBit, signedData: undefined });
    expect(reply.text).toMatch(/^Error generating timestamp response: /);
    expect(reply.text).toMatch(text);
  });

  test('tells an empty or unreadable query the same way', async () => {
    for (const body of ['', 'garbage']) {
      const answer = await post(body);
      expect(answer).toMatchObject({ status: 400, type: replyType });
      expect(readReply(answer.bytes)).toMatchObject({ status: 2, failureBit: 5 });
    }
  });

  test('tells a JSON request in JSON what is wrong', async () => {
    const answer = await post(JSON.stringify({ artifactHash, hashAlgorithm: 'md5' }), 'application/json');
    expect(answer).toMatchObject({ status: 400, type: 'application/json' });
    expect(JSON.parse(answer.bytes.toString())).toMatchObject({
      code: 3,
      message: 'Error generating timestamp response: hashAlgorithm is "md5"; expected sha256, sha384, sha512',
      details: [{ reason: 'TSA_ALGORITHM_UNSUPPORTED' }],
    });
  });

  test('answers 503 and timeNotAvailable while the clock is not to be trusted, and recovers', async () => {
    tsa.time.set(10_000);
    const answer = await post(query());
    expect(answer).toMatchObject({ status: 503, type: replyType });
    expect(answer.headers.get('retry-after')).toBe('300');
    expect(readReply(answer.bytes)).toMatchObject({ status: 2, failureBit: 14, text: /clock/ });
    const json = await post(JSON.stringify({ artifactHash, hashAlgorithm: 'sha256' }), 'application/json');
    expect(json).toMatchObject({ status: 503, type: 'application/json' });
    tsa.time.pass(300_000);
    tsa.time.guarded.check();
    expect(await post(query())).toMatchObject({ status: 200 });
  });

  test.each([
    ['text/plain', 415, 'TSA_MEDIA_TYPE_UNSUPPORTED'],
    ['', 415, 'TSA_MEDIA_TYPE_UNSUPPORTED'],
    ['application/timestamp-query-2', 415, 'TSA_MEDIA_TYPE_UNSUPPORTED'],
    ['constructor', 415, 'TSA_MEDIA_TYPE_UNSUPPORTED'],
  ])('refuses the content type "%s"', async (type, status, reason) => {
    const answer = await post(query(), type);
    expect(answer).toMatchObject({ status, type: 'application/json' });
    expect(JSON.parse(answer.bytes.toString())).toMatchObject({ details: [{ reason }] });
  });

  test('takes the content type in any case and with parameters', async () => {
    expect(await post(query(), 'Application/Timestamp-Query; x=y')).toMatchObject({ status: 200 });
  });

  test('reads no more than 16 KiB', async () => {
    const answer = await post(Buffer.alloc(16 * 1024 + 1));
    expect(answer).toMatchObject({ status: 400, type: 'application/json' });
    expect(answer.bytes.toString()).toContain('larger than 16384 bytes');
    expect(await post(Buffer.alloc(16 * 1024))).toMatchObject({ status: 400, type: replyType });
  });

  test('outlives a client that goes away in the middle', async () => {
    const half = httpRequest(url, { method: 'POST', headers: { 'Content-Type': queryType, 'Content-Length': 1000 } });
    half.on('error', () => undefined);
    half.write(query());
    await new Promise((resolve) => setTimeout(resolve, 50));
    half.destroy();
    expect(await post(query())).toMatchObject({ status: 200 });
  });

  test('counts every answer', async () => {
    const text = await metrics.registry.metrics();
    expect(text).toMatch(/mayfly_tsa_timestamps_total\{result="granted"\} [1-9]/);
    expect(text).toMatch(/mayfly_tsa_timestamps_total\{result="badDataFormat"\} [1-9]/);
    expect(text).toMatch(/mayfly_tsa_timestamps_total\{result="timeNotAvailable"\} 2/);
  });
});

test('GET /api/v1/timestamp/certchain gives the chain as PEM', async () => {
  const response = await fetch(`${url}/certchain`);
  expect(response.headers.get('content-type')).toBe('application/pem-certificate-chain');
  expect(await response.text()).toBe(pemOf(tsa.chain));
});

test.each([
  ['GET', '', 'POST'],
  ['PUT', '', 'POST'],
  ['POST', '/certchain', 'GET'],
  ['DELETE', '/certchain', 'GET'],
])('%s on /api/v1/timestamp%s is 405 and names %s', async (method, path, allowed) => {
  const response = await fetch(`${url}${path}`, { method });
  expect(response.status).toBe(405);
  expect(response.headers.get('allow')).toBe(allowed);
  expect(await response.json()).toMatchObject({ message: `Method Not Allowed: expected ${allowed}` });
});

test('no other path is the timestamp authority', async () => {
  expect((await fetch(`${url}/`)).status).toBe(404);
  expect((await fetch(`${url}/other`)).status).toBe(404);
});
