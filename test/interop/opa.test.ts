import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loopback } from '../server/lab.js';
import { newKey, post, v2Body } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { projectDir, run, toolPath } from './command.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

const policy = join(projectDir, 'config/policy/mayfly.rego');
const dir = mkdtempSync(join(tmpdir(), 'mayfly-opa-'));
let issuer: TestIssuer;
let opaPort: number;
let mayfly: RunningServer;
let url: string;
let opa: RunningServer | undefined;

const startOpa = (): Promise<RunningServer> =>
  startServer({
    name: 'opa',
    command: toolPath('bin/opa'),
    args: ['run', '--server', '--addr', `127.0.0.1:${opaPort}`, '--disable-telemetry', policy],
    cwd: dir,
    readyUrl: `http://127.0.0.1:${opaPort}/health`,
  });

beforeAll(async () => {
  issuer = await startIssuer();
  opaPort = await freePort();
  opa = await startOpa();
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const identity = join(dir, 'identity.json');
  const entry = { 'client-id': 'sigstore', type: 'email' };
  writeFileSync(identity, JSON.stringify({ 'oidc-issuers': { [issuer.url]: entry } }));
  const flags = {
    ...loopback,
    port: String(port),
    'data-dir': join(dir, 'data'),
    'config-path': identity,
    'opa-url': `http://127.0.0.1:${opaPort}/v1/data/mayfly/decision`,
  };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
  const command = { name: 'mayfly', command: process.execPath, cwd: dir, readyUrl: `${url}/healthz` };
  mayfly = await startServer({ ...command, args: [join(projectDir, 'dist/main.js'), 'serve', ...args] });
}, 120_000);

afterAll(async () => {
  await mayfly?.close();
  await opa?.close();
  await issuer?.close();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

const jane = { email: 'jane@example.com', email_verified: true };

async function ask(claims: Record<string, unknown>): Promise<string> {
  const token = await issuer.token({ ...jane, ...claims });
  const { status, text } = await post(`${url}/api/v2/signingCert`, v2Body(token, jane.email, newKey()));
  if (status === 200) return '200';
  const { message, details } = JSON.parse(text) as { message: string; details: { reason: string }[] };
  return `${status} ${details[0]?.reason}: ${message}`;
}

test('the policy of config/policy/mayfly.rego decides in a real Open Policy Agent', async () => {
  expect(await ask({ groups: ['release-engineers'] })).toBe('200');
  expect(await ask({ groups: ['interns'] })).toMatch(
    /^403 POLICY_DENIED: .*the policy server, rule "release-engineers", denies email "jane@example\.com": only release engineers/,
  );
  expect(await ask({})).toMatch(/^403 POLICY_DENIED/);
}, 60_000);

test('mayfly policy test asks it too', async () => {
  const claims = { iss: issuer.url, sub: 'user-1', ...jane };
  writeFileSync(join(dir, 'allowed.json'), JSON.stringify({ ...claims, groups: ['release-engineers'] }));
  writeFileSync(join(dir, 'denied.json'), JSON.stringify(claims));
  const test = (file: string) => {
    const opaUrl = `http://127.0.0.1:${opaPort}/v1/data/mayfly/decision`;
    const options = ['--config', join(dir, 'identity.json'), '--opa-url', opaUrl, '--opa-timeout', '5s'];
    const args = [join(projectDir, 'dist/main.js'), 'policy', 'test', join(dir, file), ...options];
    return run(process.execPath, args, { cwd: dir });
  };
  expect(await test('allowed.json')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('by rule "opa: release-engineers"'),
  });
  expect(await test('denied.json')).toMatchObject({
    code: 1,
    stdout: expect.stringContaining('only release engineers'),
  });
}, 60_000);

test('a decision that its policy does not define denies', async () => {
  const other = `http://127.0.0.1:${opaPort}/v1/data/nowhere`;
  const claims = { iss: issuer.url, sub: 'user-1', ...jane };
  writeFileSync(join(dir, 'any.json'), JSON.stringify(claims));
  const options = ['--config', join(dir, 'identity.json'), '--opa-url', other, '--opa-timeout', '5s'];
  const args = [join(projectDir, 'dist/main.js'), 'policy', 'test', join(dir, 'any.json'), ...options];
  const finished = await run(process.execPath, args, { cwd: dir });
  expect(finished).toMatchObject({ code: 1, stdout: expect.stringContaining('it has no decision about this') });
}, 60_000);

test('nothing is issued while it is stopped or gone, and all is well once it is back', async () => {
  if (opa === undefined) throw new Error('opa does not run');
  process.kill(opa.pid, 'SIGSTOP');
  try {
    expect(await ask({ groups: ['release-engineers'] })).toMatch(
      /^503 POLICY_UNAVAILABLE: .*gave no answer within 500 ms/,
    );
  } finally {
    process.kill(opa.pid, 'SIGCONT');
  }
  await opa.close();
  expect(await ask({ groups: ['release-engineers'] })).toMatch(/^503 POLICY_UNAVAILABLE: .*cannot be reached/);
  opa = await startOpa();
  expect(await ask({ groups: ['release-engineers'] })).toBe('200');
}, 120_000);
