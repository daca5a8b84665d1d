import { generateKeyPairSync, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { pino } from 'pino';
import { type RunningServer, startServer } from '../../src/server/start.js';
import { call, closeAll, connect, createMethod } from '../grpc/support.js';
import { eventually, loopback, temporary } from '../server/lab.js';
import { newKey, post, v2Body } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';

const threadUrl = new URL('../../src/issuance/thread.ts', import.meta.url);
const register = new URL('../fuzz/register.mjs', import.meta.url).href;
const openThread = (): Worker => new Worker(threadUrl, { execArgv: ['--import', register] });

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await startIssuer();
});
afterAll(() => issuer.close());

const running: RunningServer[] = [];
const others: Server[] = [];
afterEach(async () => {
  await closeAll();
  await Promise.all(running.splice(0).map((server) => server.close()));
  for (const server of others.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

const policyText = (policy: Record<string, unknown>): string =>
  JSON.stringify({ 'oidc-issuers': { [issuer.url]: { 'client-id': 'sigstore', type: 'email', ...policy } } });

/** A server whose one issuer has such rules; `lines` is its log. It has no threads unless `flags` say so. */
async function serve(policy: Record<string, unknown>, options: Record<string, string> = {}) {
  const flags = { workers: '0', ...options };
  const dir = temporary();
  const file = join(dir, 'identity.json');
  writeFileSync(file, policyText(policy));
  const lines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const given = { ...loopback, 'data-dir': join(dir, 'data'), 'config-path': file, ...flags };
  const server = await startServer(given, { environment: {}, logger, openThread });
  running.push(server);
  return { server, file, lines };
}

const jane = { email: 'jane@example.com', email_verified: true };

async function ask(url: string, claims: Record<string, unknown> = {}, key = newKey()) {
  const token = await issuer.token({ ...jane, ...claims });
  const { status, text } = await post(`${url}/api/v2/signingCert`, v2Body(token, jane.email, key));
  const answer = JSON.parse(text) as { code?: number; message?: string; details?: { reason: string }[] };
  return { status, code: answer.code, message: answer.message ?? '', reason: answer.details?.[0]?.reason };
}

const allowJane = { allow: [{ name: 'jane only', san: jane.email }] };
const denied = { status: 403, code: 7, reason: 'POLICY_DENIED' };

describe('--policy-default deny and no rules', () => {
  test('gives nobody a certificate over v1, v2 or gRPC, and says whom to ask', async () => {
    const { server, lines } = await serve({}, { 'policy-default': 'deny' });
    expect(await ask(server.url)).toMatchObject({
      ...denied,
      message: `The policy of this certificate authority does not allow this certificate: no rule allows email "jane@example.com" from issuer "${issuer.url}"; ask the operator of this instance for a rule that allows it`,
    });
    const key = newKey();
    const token = await issuer.token(jane);
    const proof = sign('sha256', Buffer.from(jane.email), key.privateKey);
    const v1 = await post(
      `${server.url}/api/v1/signingCert`,
      JSON.stringify({
        publicKey: { content: Buffer.from(key.publicKeyPem).toString('base64'), algorithm: 'ecdsa' },
        signedEmailAddress: proof.toString('base64'),
      }),
      { Authorization: `Bearer ${token}` },
    );
    expect(v1.status).toBe(403);
    expect(v1.text).toContain('no rule allows');
    const grpc = await call(connect(server.grpcPort), createMethod, {
      credentials: { oidc_identity_token: token },
      public_key_request: { public_key: { algorithm: 'ECDSA', content: key.publicKeyPem }, proof_of_possession: proof },
    });
    expect(grpc).toMatchObject({ code: 7, details: { info: { reason: 'POLICY_DENIED' } } });
    expect(lines.join('')).toContain('all its tokens are denied');
    expect(lines.join('')).not.toContain('certificate issued');
  });

  test('leaves what other clients are told of the issuer as it is', async () => {
    const [plain, strict] = [await serve({}), await serve(allowJane, { 'policy-default': 'deny' })];
    const told = async ({ server }: typeof plain) => (await fetch(`${server.url}/api/v2/configuration`)).text();
    expect(await told(strict)).toBe(await told(plain));
  });
});

describe('a rule', () => {
  test('allows and denies, and a denial names it and nothing that is in it', async () => {
    const secret = { claims: { team: { any: 'secret-project' } } };
    const { server } = await serve({
      allow: [{ name: 'staff', claims: { email: { glob: '*@example.com' } } }],
      deny: [{ name: 'embargo', ...secret, message: 'ask #signing' }],
    });
    expect(await ask(server.url, { team: ['x'] })).toMatchObject({ status: 200 });
    const answer = await ask(server.url, { team: ['secret-project'] });
    expect(answer).toMatchObject(denied);
    expect(answer.message).toContain('rule "embargo" denies email "jane@example.com"');
    expect(answer.message).toContain(': ask #signing');
    expect(await ask(server.url)).toMatchObject(denied);
    for (const text of [answer.message, (await ask(server.url)).message])
      expect(text).not.toMatch(/secret-project|staff|team/);
  });

  test.each(['0', '1'])('over kinds of key decides once the key is known, with %s threads', async (workers) => {
    const { server } = await serve({ deny: [{ name: 'no P-384', key: 'ecdsa-p384' }] }, { workers });
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const large = { privateKey, publicKeyPem: String(publicKey.export({ type: 'spki', format: 'pem' })) };
    const answer = await ask(server.url, {}, large);
    expect(answer).toMatchObject(denied);
    expect(answer.message).toContain('rule "no P-384" denies ECDSA P-384 keys for email "jane@example.com"');
    expect(await ask(server.url)).toMatchObject({ status: 200 });
    const metrics = await (await fetch(server.metricsUrl)).text();
    expect(metrics).toContain('mayfly_policy_decisions_total{outcome="denied",rule="no P-384"} 1');
    expect(metrics).toContain('mayfly_policy_decisions_total{outcome="allowed",rule="none"} 1');
  });
});

test('--policy-dry-run denies nobody, and logs and counts whom it would have denied', async () => {
  const { server, lines } = await serve(
    { deny: [{ name: 'jane', san: jane.email }] },
    { 'policy-dry-run': 'true', 'policy-default': 'deny' },
  );
  expect(await ask(server.url)).toMatchObject({ status: 200 });
  expect(lines.join('')).toContain('policy dry run: this would be denied: rule \\"jane\\" denies');
  const metrics = await (await fetch(server.metricsUrl)).text();
  expect(metrics).toContain('mayfly_policy_decisions_total{outcome="would-deny",rule="jane"} 1');
});

describe('a reload', () => {
  test('under load puts other rules in force at once, and no request sees half of them', async () => {
    const { server, file } = await serve(allowJane);
    const statuses = new Map<number, number>();
    let stopped = false;
    const client = async (): Promise<void> => {
      while (!stopped) {
        const { status, message } = await ask(server.url);
        if (status === 403) expect(message).toContain('no rule allows');
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    };
    const clients = Promise.all([client(), client(), client()]);
    for (let i = 0; i < 6; i++) {
      const allowed = i % 2 === 1;
      writeFileSync(file, policyText(allowed ? allowJane : { allow: [{ name: 'joe only', san: 'joe@example.com' }] }));
      server.reload('test');
      expect((await ask(server.url)).status).toBe(allowed ? 200 : 403);
    }
    stopped = true;
    await clients;
    expect([...statuses.keys()].every((status) => status === 200 || status === 403)).toBe(true);
  });

  test('of rules that are wrong keeps those in force, and says what is wrong', async () => {
    const { server, file, lines } = await serve({ allow: [{ name: 'joe only', san: 'joe@example.com' }] });
    writeFileSync(file, policyText({ allow: [{ name: 'all', san: { regex: '(' } }] }));
    server.reload('test');
    expect(await ask(server.url)).toMatchObject(denied);
    expect(lines.join('')).toMatch(/identity configuration refused, the old one stays: .*allow\[\\+"all\\+"\]\.san/);
  });
});

describe('with --opa-url', () => {
  /** A policy server that answers what `result` gives for the input. */
  async function opa(result: (input: Record<string, unknown>) => unknown): Promise<string> {
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      request.on('end', () => {
        const { input } = JSON.parse(body) as { input: Record<string, unknown> };
        response.end(JSON.stringify({ result: input.probe === true ? false : result(input) }));
      });
    });
    others.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    return `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}/v1/data/mayfly`;
  }

  test('the policy server sees the verified claims and decides, with its reason', async () => {
    const inputs: Record<string, unknown>[] = [];
    const url = await opa((input) => {
      inputs.push(input);
      return { allow: (input.claims as { ok?: boolean }).ok === true, reason: 'not ok', rule: 'r1' };
    });
    const { server } = await serve({}, { 'opa-url': url });
    expect(await ask(server.url, { ok: true })).toMatchObject({ status: 200 });
    const answer = await ask(server.url);
    expect(answer).toMatchObject(denied);
    expect(answer.message).toContain('the policy server, rule "r1", denies email "jane@example.com": not ok');
    expect(inputs[0]).toMatchObject({
      version: 1,
      issuer: issuer.url,
      issuer_type: 'email',
      subject: 'user-1',
      san: { type: 'email', value: jane.email },
      claims: { ok: true, aud: 'sigstore' },
      request: { client_address: '127.0.0.1' },
    });
    const metrics = await (await fetch(server.metricsUrl)).text();
    expect(metrics).toContain('mayfly_policy_decisions_total{outcome="denied",rule="opa"} 1');
  });

  test('it cannot allow what a rule denies, and is not even asked', async () => {
    let asked = 0;
    const url = await opa(() => {
      asked++;
      return true;
    });
    const { server } = await serve({ deny: [{ name: 'jane', san: jane.email }] }, { 'opa-url': url });
    expect(await ask(server.url)).toMatchObject(denied);
    expect(asked).toBe(0);
  });

  test('nothing is issued while it is down, and all is well once it is back', async () => {
    const url = await opa(() => true);
    const { server } = await serve({}, { 'opa-url': url });
    expect(await ask(server.url)).toMatchObject({ status: 200 });
    const [down] = others.splice(0);
    down?.closeAllConnections();
    await new Promise((resolve) => down?.close(resolve));
    expect(await ask(server.url)).toMatchObject({ status: 503, code: 14, reason: 'POLICY_UNAVAILABLE' });
    const back = createServer((request, response) => request.resume().on('end', () => response.end('{"result":true}')));
    others.push(back);
    await new Promise<void>((resolve) => back.listen(Number(new URL(url).port), '127.0.0.1', resolve));
    await eventually(async () => (await ask(server.url)).status === 200);
  });

  test('/readyz says from the start and without a request whether it answers, and finds out when it is back', async () => {
    const url = await opa(() => true);
    const [gone] = others.splice(0);
    gone?.closeAllConnections();
    await new Promise((resolve) => gone?.close(resolve));
    const { server } = await serve({}, { 'opa-url': url });
    const policyServer = async () => {
      const answer = await fetch(`${server.url}/readyz`);
      const { checks } = (await answer.json()) as { checks: { name: string }[] };
      return { status: answer.status, check: checks.find(({ name }) => name === 'policy-server') };
    };
    await eventually(async () => (await policyServer()).status === 503);
    expect((await policyServer()).check).toEqual({
      name: 'policy-server',
      ok: false,
      required: true,
      reason: expect.stringContaining('the policy server cannot be reached'),
    });
    const back = createServer((request, response) => request.resume().on('end', () => response.end('{"result":true}')));
    others.push(back);
    await new Promise<void>((resolve) => back.listen(Number(new URL(url).port), '127.0.0.1', resolve));
    await eventually(async () => (await policyServer()).status === 200);
  });

  test('a dry run issues while it is down, and says so', async () => {
    const { server, lines } = await serve({}, { 'opa-url': 'http://127.0.0.1:1/v1/data/x', 'policy-dry-run': 'true' });
    expect(await ask(server.url)).toMatchObject({ status: 200 });
    expect(lines.join('')).toContain('policy dry run: this would be denied: the policy server cannot be reached');
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
  });
});
