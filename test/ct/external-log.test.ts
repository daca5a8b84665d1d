import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { signDigitally } from '../../src/ct/digitally-signed.js';
import { type ExternalLogOptions, openExternalLog } from '../../src/ct/external-log.js';
import { logIdOf, sctSigningInput, verifySct } from '../../src/ct/sct.js';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const submission = {
  precertificate: randomBytes(50),
  chain: [randomBytes(51), randomBytes(52)],
  tbs: randomBytes(40),
  issuerKeyHash: randomBytes(32),
};
const now = 1_700_000_000_000;

function answer(change: { key?: KeyObject; timestamp?: number; tbs?: Buffer } = {}) {
  const { key = privateKey, timestamp = now, tbs = submission.tbs } = change;
  const entry = { type: 'precert', tbs, issuerKeyHash: submission.issuerKeyHash } as const;
  const signature = signDigitally(sctSigningInput(entry, BigInt(timestamp), new Uint8Array()), key);
  return {
    sct_version: 0,
    id: Buffer.from(logIdOf(publicKey)).toString('base64'),
    timestamp,
    extensions: '',
    signature: Buffer.from(signature).toString('base64'),
  };
}

type Reply = (response: http.ServerResponse) => void;
const reply =
  (status: number, body: unknown, headers: http.OutgoingHttpHeaders = {}): Reply =>
  (response) =>
    response.writeHead(status, headers).end(typeof body === 'string' ? body : JSON.stringify(body));

let server: http.Server;
let replies: Reply[];
let seen: { url: string | undefined; host: string | undefined; body: unknown }[];
let pauses: number[];

beforeEach(async () => {
  [replies, seen, pauses] = [[], [], []];
  server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body: unknown = chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString());
    seen.push({ url: request.url, host: request.headers.host, body });
    const next = replies.length > 1 ? replies.shift() : replies[0];
    next?.(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const base = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/log`;

function open(more: Partial<ExternalLogOptions> = {}) {
  return openExternalLog({
    url: base(),
    publicKey,
    clock: () => now,
    timeoutMs: 5000,
    logger: { info() {}, warn() {} },
    random: () => 1,
    wait: async (ms) => void pauses.push(ms),
    ...more,
  });
}

test('an SCT that verifies is returned, for the chain that was posted', async () => {
  replies = [reply(200, answer())];
  const log = open({ hostHeader: 'log.example.com' });
  const sct = await log.submit(submission);
  expect(verifySct(sct, submission, publicKey)).toBe(true);
  const chain = [submission.precertificate, ...submission.chain].map((der) => der.toString('base64'));
  expect(seen).toEqual([{ url: '/log/ct/v1/add-pre-chain', host: 'log.example.com', body: { chain } }]);
  expect(log.readiness()).toEqual({ ok: true });
  await log.close();
});

test.each([
  ['an SCT signed by another key', reply(200, answer({ key: other.privateKey })), 'does not verify'],
  ['an SCT for another precertificate', reply(200, answer({ tbs: randomBytes(40) })), 'does not verify'],
  ['an SCT of another log', reply(200, { ...answer(), id: randomBytes(32).toString('base64') }), 'another log'],
  ['a timestamp ten minutes ahead', reply(200, answer({ timestamp: now + 600_000 })), 'ahead'],
  ['a timestamp two days old', reply(200, answer({ timestamp: now - 172_800_000 })), 'old'],
  ['a v2 SCT', reply(200, { ...answer(), sct_version: 1 }), 'sct_version'],
  ['a missing signature', reply(200, { ...answer(), signature: undefined }), 'signature'],
  ['a timestamp that is a string', reply(200, { ...answer(), timestamp: String(now) }), 'timestamp'],
  ['HTML', reply(200, '<html>'), 'not JSON'],
  ['a redirect', reply(307, '', { location: 'http://127.0.0.1:1/' }), 'redirect'],
])('%s is misbehaviour', async (_, lie, reason) => {
  replies = [lie];
  const log = open();
  const refusal = { code: 'CT_LOG_MISBEHAVED', detail: expect.stringContaining(reason) };
  await expect(log.submit(submission)).rejects.toMatchObject(refusal);
  expect(seen).toHaveLength(1);
  expect(log.readiness()).toMatchObject({ ok: false });
  await log.close();
});

test('429, 503 and a broken connection are tried again, as late as the log asks for', async () => {
  const drop: Reply = (response) => response.destroy();
  replies = [reply(429, '', { 'retry-after': '2' }), reply(503, ''), drop, reply(200, answer())];
  const log = open();
  await log.submit(submission);
  expect(pauses).toEqual([2000, 200, 400]);
  await log.close();
});

test('a Retry-After beyond the deadline is not waited for but passed on', async () => {
  replies = [reply(503, '', { 'retry-after': '60' })];
  const log = open();
  await expect(log.submit(submission)).rejects.toMatchObject({
    code: 'CT_LOG_UNAVAILABLE',
    detail: expect.stringContaining('503'),
    retryAfterSeconds: 60,
  });
  expect(seen).toHaveLength(1);
  await log.close();
});

test('a log that refuses is not asked again', async () => {
  replies = [reply(400, 'unknown root')];
  const log = open();
  await expect(log.submit(submission)).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE', retryAfterSeconds: 60 });
  expect(seen).toHaveLength(1);
  await log.close();
});

test('an endless answer is cut off', async () => {
  replies = [(response) => response.write('x'.repeat(200_000)), reply(200, answer())];
  const log = open();
  await log.submit(submission);
  expect(seen).toHaveLength(2);
  await log.close();
});

test('a log that never answers is given up at the deadline', async () => {
  replies = [() => {}];
  const log = open({ timeoutMs: 50 });
  await expect(log.submit(submission)).rejects.toMatchObject({
    code: 'CT_LOG_UNAVAILABLE',
    detail: expect.stringContaining('within 50 ms'),
  });
  await log.close();
});

describe('a log that fails in submission after submission', () => {
  const failing = reply(503, '', { 'retry-after': '60' });
  let time: number;
  let lines: string[];
  const logger = {
    info: (_entry: object, line: string) => void lines.push(line),
    warn: (_entry: object, line: string) => void lines.push(line),
  } as never;

  async function failed(times: number, with_ = failing) {
    [time, lines, replies] = [now, [], [with_]];
    const log = open({ clock: () => time, logger });
    for (let i = 0; i < times; i++) await log.submit(submission).catch(() => undefined);
    return log;
  }

  test('is not asked for a while: the answer is at once, with the time to come back', async () => {
    const log = await failed(5);
    await expect(log.submit(submission)).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE', retryAfterSeconds: 4 });
    expect(seen).toHaveLength(5);
    expect(lines.at(-1)).toBe(`the log ${base()} failed 5 times in a row: it is left alone for 4 s`);
    await log.close();
  });

  test('is asked again afterwards, by one submission first, and trusted again when that succeeds', async () => {
    const log = await failed(5);
    time += 4000;
    replies = [reply(200, answer())];
    const both = await Promise.allSettled([log.submit(submission), log.submit(submission)]);
    expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(lines.at(-1)).toBe(`the log ${base()} gives SCTs again`);
    await log.submit(submission);
    expect(log.readiness()).toEqual({ ok: true });
    await log.close();
  });

  test('counts as not ready for as long as it is left alone', async () => {
    const log = await failed(5);
    for (let probes = 0; probes < 3; probes++) {
      time += 30_000;
      expect(log.readiness()).toEqual({ ok: true });
      await log.submit(submission).catch(() => undefined);
    }
    time += 20_000;
    expect(log.readiness()).toEqual({ ok: false, reason: expect.stringContaining('503') });
    await log.close();
  });

  test('lies as often as it likes: that counts as failing', async () => {
    const log = await failed(5, reply(200, answer({ key: other.privateKey })));
    await expect(log.submit(submission)).rejects.toMatchObject({ detail: expect.stringContaining('is not asked') });
    await log.close();
  });

  test('but a log that refuses what it is sent is asked again: one client must not close it to the others', async () => {
    const log = await failed(20, reply(400, 'unparseable'));
    replies = [reply(200, answer())];
    await log.submit(submission);
    expect(seen).toHaveLength(21);
    await log.close();
  });

  test('nor do clients that give up early count against a log', async () => {
    [time, lines, replies] = [now, [], [() => {}]];
    const log = open({ clock: () => time, logger });
    for (let i = 0; i < 10; i++) await log.submit(submission, AbortSignal.timeout(1)).catch(() => undefined);
    expect(log.readiness()).toEqual({ ok: true });
    replies = [reply(200, { ...answer() })];
    await log.submit(submission);
    expect(lines).toEqual([]);
    await log.close();
  });
});

test('the roots of a log are asked for at get-roots', async () => {
  replies = [reply(200, { certificates: ['AQI='] })];
  const log = open();
  expect(await log.acceptedRoots()).toEqual([Buffer.of(1, 2)]);
  expect(seen).toEqual([{ url: '/log/ct/v1/get-roots', host: expect.any(String), body: undefined }]);
  await log.close();
});

test('a log that does not say its roots in time is an error, not a hang', async () => {
  replies = [() => {}];
  const log = open({ timeoutMs: 50 });
  await expect(log.acceptedRoots()).rejects.toThrow();
  await log.close();
});

test('the signal of the request ends the wait too', async () => {
  replies = [() => {}];
  const log = open();
  await expect(log.submit(submission, AbortSignal.timeout(20))).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE' });
  await log.close();
});

test.each([
  ['a URL that is none', { url: 'log' }],
  ['a URL of another scheme', { url: 'ftp://127.0.0.1/' }],
  ['an Ed25519 key', { publicKey: generateKeyPairSync('ed25519').publicKey }],
])('%s is refused at the start', (_, more) => {
  expect(() => open(more)).toThrow(expect.objectContaining({ code: 'STARTUP' }));
});
