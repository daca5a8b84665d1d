import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { RunningServer } from '../../src/server/start.js';
import { newKey, post, v2Body } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { emailConfig, emailConfigText, eventually, start, temporary } from './lab.js';

const jane = { email: 'jane@example.com', email_verified: true };
let issuer: TestIssuer;
let other: TestIssuer;
beforeAll(async () => {
  [issuer, other] = await Promise.all([startIssuer(), startIssuer({ alg: 'ES256' })]);
});
afterAll(() => Promise.all([issuer.close(), other.close()]));

async function statusFor(server: RunningServer, from: TestIssuer, claims: object = jane): Promise<number> {
  const token = await from.token({ ...claims });
  return (await post(`${server.url}/api/v2/signingCert`, v2Body(token, jane.email))).status;
}

async function reasonFor(server: RunningServer, token: string): Promise<string> {
  const answer = await post(`${server.url}/api/v2/signingCert`, v2Body(token, jane.email));
  const body = JSON.parse(answer.text) as { details?: [{ reason: string }] };
  return body.details?.[0].reason ?? `status ${answer.status}`;
}

describe('the identity configuration', () => {
  test('without one, no token is accepted and the server is not ready, and says so', async () => {
    const server = await start({ 'data-dir': join(temporary(), 'data'), 'config-path': emailConfig(temporary()) });
    const ready = await fetch(`${server.url}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.text()).toMatch(/no identity configuration, so no token is accepted/);
    expect(await reasonFor(server, await issuer.token(jane))).toBe('ISSUER_UNKNOWN');
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
    await server.close();
  });

  test('is swapped when the file changes, and a bad one leaves the old one in force', async () => {
    const dir = temporary();
    const lines: string[] = [];
    const file = emailConfig(dir, issuer.url);
    const server = await start({ 'data-dir': join(dir, 'data'), 'config-path': file }, lines);
    expect([await statusFor(server, issuer), await statusFor(server, other)]).toEqual([200, 400]);
    writeFileSync(file, emailConfigText(issuer.url, other.url));
    await eventually(async () => (await statusFor(server, other)) === 200);
    writeFileSync(file, '{"OIDCIssuers": {"x": {"IssuerURL": 5}}}');
    await eventually(() => lines.join('').includes('identity configuration refused, the old one stays'));
    expect([await statusFor(server, issuer), await statusFor(server, other)]).toEqual([200, 200]);
    const metrics = await (await fetch(server.metricsUrl)).text();
    expect(metrics).toMatch(/mayfly_identity_config_reloads_total\{result="refused"\} 1/);
    expect(metrics).toMatch(/mayfly_identity_config_generation 2/);
    await server.close();
  });

  test('is swapped when Kubernetes swaps the symlink of a mounted ConfigMap', async () => {
    const dir = temporary();
    const version = (name: string, ...issuers: string[]): void => {
      mkdirSync(join(dir, name));
      writeFileSync(join(dir, name, 'config.yaml'), emailConfigText(...issuers));
    };
    version('..v1', issuer.url);
    symlinkSync('..v1', join(dir, '..data'));
    symlinkSync('..data/config.yaml', join(dir, 'config.yaml'));
    const server = await start({ 'data-dir': join(temporary(), 'data'), 'config-path': join(dir, 'config.yaml') });
    expect(await statusFor(server, other)).toBe(400);
    version('..v2', other.url);
    symlinkSync('..v2', join(dir, '..data_tmp'));
    renameSync(join(dir, '..data_tmp'), join(dir, '..data'));
    await eventually(async () => (await statusFor(server, other)) === 200);
    expect(await statusFor(server, issuer)).toBe(400);
    await server.close();
  });
});

test('a key rotation at the issuer is picked up, and an issuer that is down at the start stops nothing', async () => {
  const late = await startIssuer();
  const token = await late.token(jane);
  await late.close();
  const dir = temporary();
  const flags = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, late.url, issuer.url) };
  const server = await start(flags);
  expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
  expect(await reasonFor(server, token)).toBe('ISSUER_UNAVAILABLE');
  expect(await statusFor(server, issuer)).toBe(200);
  await issuer.rotate();
  expect(await statusFor(server, issuer)).toBe(200);
  await server.close();
});

test('a shutdown finishes the requests in flight and commits their entries', async () => {
  const dir = temporary();
  const flags = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url) };
  const server = await start(flags);
  const body = v2Body(await issuer.token(jane), jane.email, newKey());
  await post(`${server.url}/api/v2/signingCert`, body);
  const asked = Array.from({ length: 20 }, () => post(`${server.url}/api/v2/signingCert`, body));
  await new Promise((done) => setTimeout(done, 5));
  await server.close();
  const answers = await Promise.allSettled(asked);
  const issued = answers.filter((answer) => answer.status === 'fulfilled' && answer.value.status === 200).length;
  const again = await start(flags);
  const head = (await (await fetch(`${again.url}/ctlog/ct/v1/get-sth`)).json()) as { tree_size: number };
  expect(head.tree_size).toBeGreaterThanOrEqual(1 + issued);
  for (const answer of answers) {
    if (answer.status === 'fulfilled') expect([200, 503]).toContain(answer.value.status);
  }
  await again.close();
});

test('with --token-reuse deny a token is good for one certificate, across a restart too', async () => {
  const dir = temporary();
  const flags = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url), 'token-reuse': 'deny' };
  const token = await issuer.token({ ...jane, jti: 'once' });
  const first = await start(flags);
  expect([await reasonFor(first, token), await reasonFor(first, token)]).toEqual(['status 200', 'TOKEN_REUSED']);
  // A refused proof uses up nothing.
  const fresh = await issuer.token({ ...jane, jti: 'twice' });
  const wrong = await post(`${first.url}/api/v2/signingCert`, v2Body(fresh, 'somebody else'));
  expect(wrong.status).toBe(400);
  expect(await reasonFor(first, fresh)).toBe('status 200');
  await first.close();
  const second = await start(flags);
  expect(await reasonFor(second, token)).toBe('TOKEN_REUSED');
  await second.close();
});

test('with --ct-log-url "" certificates carry no SCT, and the start says so loudly', async () => {
  const dir = temporary();
  const lines: string[] = [];
  const flags = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url), 'ct-log-url': '' };
  const server = await start(flags, lines);
  expect(lines.join('')).toContain('CT IS OFF');
  const answer = await post(`${server.url}/api/v2/signingCert`, v2Body(await issuer.token(jane), jane.email));
  expect(JSON.parse(answer.text)).toHaveProperty('signedCertificateDetachedSct');
  expect((await fetch(`${server.url}/ctlog/checkpoint`)).status).toBe(404);
  await server.close();
});

test.each([
  ['no HTTP at all', 'nonsense\r\n\r\n', 400],
  ['headers without end', `GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(200_000)}\r\n\r\n`, 431],
])('%s gets an answer in our form', async (_name, bytes, status) => {
  const dir = temporary();
  const server = await start({ 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url) });
  const text = await new Promise<string>((done) => {
    let answer = '';
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (chunk) => {
      answer += chunk.toString();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => done(answer));
  });
  expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(text).toMatch(/"reason":"REQUEST_UNREADABLE"/);
  await server.close();
});
