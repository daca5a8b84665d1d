import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeLine, noHead } from '../../src/audit/line.js';
import type { AuditLine, AuditRecord } from '../../src/audit/record.js';
import { auditShowCommand } from '../../src/cli/audit-show.js';
import { auditVerifyCommand } from '../../src/cli/audit-verify.js';
import { type RunningServer, startServer } from '../../src/server/start.js';
import { post, v2Body, v2Chain } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';

const email = 'jane@example.com';
let dir: string;
let trailFile: string;
let issuer: TestIssuer;
let server: RunningServer | undefined;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mayfly-audit-server-'));
  trailFile = join(dir, 'audit.jsonl');
  issuer = await startIssuer({ alg: 'ES256' });
  const issuers = { [issuer.url]: { IssuerURL: issuer.url, ClientID: 'sigstore', Type: 'email' } };
  writeFileSync(join(dir, 'identity.json'), JSON.stringify({ OIDCIssuers: issuers }));
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  await issuer.close();
  rmSync(dir, { recursive: true, force: true });
});

async function start(flags: Record<string, string> = {}): Promise<RunningServer> {
  const fixed = {
    host: '127.0.0.1',
    port: '0',
    'grpc-host': '127.0.0.1',
    'grpc-port': '0',
    'metrics-port': '0',
    'data-dir': join(dir, 'data'),
    'config-path': join(dir, 'identity.json'),
    'public-url': 'http://ca.example.com',
    'log-level': 'error',
    'audit-log': trailFile,
  };
  const { pino } = await import('pino');
  server = await startServer({ ...fixed, ...flags }, { environment: {}, logger: pino({ level: 'silent' }) });
  return server;
}

const token = (): Promise<string> => issuer.token({ email, email_verified: true, secret_claim: 'do not tell' });
const request = (url: string, jwt: string, headers: Record<string, string> = {}) =>
  post(`${url}/api/v2/signingCert`, v2Body(jwt, email), headers);
const lines = (): AuditLine[] =>
  readFileSync(trailFile, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as AuditLine);

async function verify(...more: string[]): Promise<{ code: number; text: string }> {
  const said: string[] = [];
  const io = { out: (t: string) => void said.push(t), err: () => {}, fetch, now: () => new Date(), interactive: false };
  const log = { ctlogDir: [join(dir, 'data/ctlog')], publicKey: [join(dir, 'data/trust/ctlog.pub.pem')] };
  const code = await auditVerifyCommand([trailFile, ...more], log, io);
  return { code, text: said.join('') };
}

test('a certificate has its intent and its outcome in the trail, both with all that is known of it', async () => {
  const { url } = await start();
  const jwt = await token();
  const answer = await request(url, jwt, { 'X-Request-Id': 'mine-1' });
  const [leaf] = v2Chain(answer);
  const [, intent, issued] = lines();
  const known = {
    requestId: 'mine-1',
    issuer: issuer.url,
    subject: 'user-1',
    san: { type: 'email', value: email },
    key: { algorithm: 'ecdsa-p256' },
    serial: leaf?.serialNumber.toLowerCase(),
    client: '127.0.0.1',
  };
  expect(intent).toMatchObject({ event: 'intent', ...known });
  expect(issued).toMatchObject({ event: 'issued', ...known, logs: [{ index: 0 }] });
  expect(issued?.certificate).toBe(leaf?.fingerprint256.replaceAll(':', '').toLowerCase());
  const written = readFileSync(trailFile, 'utf8');
  for (const part of jwt.split('.')) expect(written).not.toContain(part);
  expect(written).not.toContain('do not tell');
  await server?.close();
  server = undefined;
  expect(await verify()).toMatchObject({
    code: 0,
    text: expect.stringMatching(/1 issued(.|\n)*1, of which 1 are named/),
  });
});

test('a refused request is in the trail with its reason; one without a good token says nothing of who it was', async () => {
  const { url } = await start();
  await request(url, 'a.b.c');
  await post(`${url}/api/v2/signingCert`, v2Body(await token(), 'somebody else'));
  const [, stranger, known] = lines();
  expect(stranger).toEqual({
    prev: expect.any(String),
    seq: 2,
    time: expect.any(String),
    event: 'failed',
    requestId: expect.any(String),
    client: '127.0.0.1',
    code: 'TOKEN_MALFORMED',
  });
  expect(known).toMatchObject({ event: 'failed', san: { value: email }, code: 'PROOF_INVALID' });
});

test('a flood of refusals is counted, not written out', async () => {
  const { url, close } = await start({ 'audit-max-refusals': '3' });
  for (let n = 0; n < 10; n++) await request(url, 'a.b.c');
  for (let n = 0; n < 2; n++) await post(`${url}/api/v2/signingCert`, v2Body(await token(), 'somebody else'));
  await close();
  server = undefined;
  const events = lines().map(({ event, code, counts }) => [event, code ?? counts]);
  const stranger = ['failed', 'TOKEN_MALFORMED'];
  const known = ['failed', 'PROOF_INVALID'];
  const counts = [{ event: 'failed', code: 'TOKEN_MALFORMED', count: 7 }];
  expect(events.slice(1, -1)).toEqual([stranger, stranger, stranger, known, known, ['refusals', counts]]);
});

test('the client address is what a trusted proxy says, and nothing a stranger claims', async () => {
  const flags = { 'client-address': 'x-forwarded-for', 'trusted-proxies': '127.0.0.1' };
  const { url } = await start(flags);
  await request(url, 'a.b.c', { 'X-Forwarded-For': '203.0.113.9, 198.51.100.7' });
  expect(lines()[1]?.client).toBe('198.51.100.7');
  await server?.close();
  const direct = await start();
  await request(direct.url, 'a.b.c', { 'X-Forwarded-For': '203.0.113.9' });
  expect(lines().at(-1)?.client).toBe('127.0.0.1');
});

test('an entry without a line, and a line without its entry, are found', async () => {
  const { url, close } = await start();
  for (let n = 0; n < 2; n++) await request(url, await token());
  await close();
  server = undefined;
  const whole = readFileSync(trailFile, 'utf8').split('\n');
  // Cut off behind the first certificate: the chain holds, the log does not agree.
  writeFileSync(trailFile, `${whole.slice(0, 3).join('\n')}\n`);
  expect(await verify()).toMatchObject({
    code: 1,
    text: expect.stringMatching(/entry 1 of .* has no line in the trail/),
  });
  const text = whole.join('\n');
  writeFileSync(trailFile, text);
  expect((await verify()).code).toBe(0);
  // Another entry in the last outcome, with a chain that was made to fit.
  const lines = whole.slice(0, 4).map((line) => `${line}\n`);
  const { prev, seq, time, ...last } = JSON.parse(whole[4] ?? '') as AuditLine;
  const moved = { ...last, event: 'issued', logs: last.logs?.map(({ id }) => ({ id, index: 0 })) } as AuditRecord;
  writeFileSync(trailFile, lines.join('') + encodeLine({ seq: seq - 1, hash: prev }, Date.parse(time), moved).text);
  const found = /it says entry 0 of .*; the log has its certificate as entry 1/;
  expect(await verify()).toMatchObject({ code: 1, text: expect.stringMatching(found) });
});

test('show prints the lines of an identity', async () => {
  const { url } = await start();
  await request(url, await token());
  const said: string[] = [];
  const io = { out: (text: string) => void said.push(text), err: () => {} };
  expect(auditShowCommand([trailFile], { san: 'jane@', event: 'issued' }, io)).toBe(0);
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(/ {2}issued {2}jane@example\.com {2}http:.*serial [0-9a-f]+ {2}entry 0 of log [0-9a-f]{8} /);
  expect(auditShowCommand([trailFile], { san: 'joe' }, io)).toBe(0);
  expect(said).toHaveLength(1);
});

test('show keeps what a token brought in from writing to the terminal', () => {
  const line = encodeLine(noHead, 0, { event: 'denied', san: { type: 'username', value: 'a\u001b[2Jb\u202e' } });
  writeFileSync(trailFile, line.text);
  const said: string[] = [];
  auditShowCommand([trailFile], {}, { out: (text) => void said.push(text), err: () => {} });
  expect(said.join('')).toContain('a\\u{1b}[2Jb\\u{202e}');
});

test('the trail is a dependency of readiness and has its metrics', async () => {
  const { url, metricsUrl } = await start();
  await request(url, await token());
  const ready = (await (await fetch(`${url}/readyz`)).json()) as { checks: { name: string; ok: boolean }[] };
  expect(ready.checks.find(({ name }) => name === 'audit-trail')).toMatchObject({ ok: true });
  const metrics = await (await fetch(metricsUrl)).text();
  expect(metrics).toMatch(/^mayfly_audit_available 1$/m);
  expect(metrics).toMatch(/^mayfly_audit_lines_total\{event="issued"\} 1$/m);
});

test.each([
  [{ 'audit-max-size': '1KiB' }, /--audit-max-size is "1KiB"; expected 0, or a size from 64KiB/],
  [{ 'audit-log': '', 'audit-failure': 'warn' }, /--audit-failure is given, but there is no audit trail/],
  [{ 'audit-failure': 'ignore' }, /--audit-failure is "ignore"; expected refuse or warn/],
  [{ 'audit-log': '/proc/nowhere/audit.jsonl' }, /--audit-log: cannot lock/],
  [{ 'client-address': 'x-forwarded-for' }, /needs --trusted-proxies/],
  [{ 'trusted-proxies': '10.0.0.0/8' }, /no effect without --client-address/],
  [{ 'client-address': 'x-forwarded-for', 'trusted-proxies': '10.0.0.0/33' }, /"10.0.0.0\/33"; expected addresses/],
])('a start with %j is refused with the flag and what it takes', async (flags, message) => {
  await expect(start(flags as Record<string, string>)).rejects.toMatchObject({
    detail: expect.stringMatching(message),
  });
});
