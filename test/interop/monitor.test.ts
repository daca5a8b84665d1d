import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { projectDir, run } from './command.js';
import { startCtfe } from './ctfe.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { type CaFiles, makeCa } from './openssl-ca.js';
import { startTesseraCt } from './tesseract.js';
import { requestV1 } from './v1-client.js';

/** `mayfly monitor` as a process, before the embedded log and before logs that are not ours. */

const jane = 'jane@example.com';
const main = resolve(projectDir, 'dist/main.js');

let lab: Lab;
let issuer: OidcIssuer;
let files: CaFiles;

beforeAll(async () => {
  lab = await openLab();
  await chmod(lab.dir, 0o755); // PostgreSQL runs as another user
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
  files = await makeCa(lab.dir, 'P-256', 'with intermediate');
});
afterAll(() => lab.close());

async function caWith(name: string, flags: readonly string[] = []): Promise<CaServer> {
  const config = emailIssuerConfig(issuer.url);
  return lab.keep(await startCa({ dir: join(lab.dir, name), config, log: true, files, flags }));
}

async function issue(ca: CaServer, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    const answer = await requestV1(ca.url, await issuer.idToken('account-4711'), jane, 'as cosign 2');
    expect(answer.status).toBe(201);
  }
}

interface Event {
  readonly type: string;
  readonly id: string;
  readonly index: number;
  readonly repeated?: boolean;
}

const eventsIn = (text: string): Event[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Event);

/** Asks the log until it shows so many certificates: logs that are not ours merge later. */
async function matches(url: string, flags: readonly string[], count: number): Promise<Event[]> {
  const args = [main, 'monitor', url, '--once', '--json', '--from', '0', '--identity', jane, ...flags];
  const found: Event[] = [];
  for (const end = Date.now() + 30_000; ; await sleep(300)) {
    const { code, stdout, stderr } = await run(process.execPath, args, { cwd: lab.dir });
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('INCONSISTENT') });
    found.push(...eventsIn(stdout).filter(({ type }) => type === 'match'));
    if (found.length >= count || Date.now() > end) return found;
  }
}

describe.each([
  ['CTFE (RFC 6962)', 'rfc6962', async (dir: string) => startCtfe(dir, files.chainPath)],
  ['TesseraCT (static-ct-api)', 'static-ct', async (dir: string) => startTesseraCt(dir, files.chainPath)],
])('%s', (_name, type, start) => {
  test('each certificate is shown once, over several runs', async () => {
    const dir = join(lab.dir, type);
    await mkdir(dir);
    const log = lab.keep(await start(dir));
    const ca = await caWith(`ca-${type}`, [
      '--ct-log-url',
      log.url,
      '--ct-log-public-key-path',
      log.publicKeyPath,
      '--ct-log-timeout',
      '5s',
    ]);
    const url = 'monitoringUrl' in log ? String(log.monitoringUrl) : log.url;
    const flags = ['--public-key', log.publicKeyPath, '--state', join(dir, 'state.json'), '--issuer', issuer.url];
    const seen: number[] = [];
    for (const count of [1, 3, 12]) {
      await issue(ca, count);
      seen.push(...(await matches(url, flags, count)).map(({ index }) => index));
    }
    expect(seen).toEqual(Array.from({ length: 16 }, (_, i) => i));
    // From the middle, without what was remembered.
    const from = await matches(url, ['--public-key', log.publicKeyPath, '--from', '7'], 9);
    expect(from.map(({ index }) => index)).toEqual([7, 8, 9, 10, 11, 12, 13, 14, 15]);
  }, 120_000);
});

test('kill -9 again and again loses no certificate of the embedded log, and repeats none without saying so', async () => {
  const ca = await caWith('ca-embedded');
  const output = join(lab.dir, 'events.jsonl');
  const trust = ['--trusted-root', join(ca.trustDir, 'trusted_root.json'), '--state', join(lab.dir, 'killed.json')];
  const args = [main, 'monitor', ca.url, ...trust, '--from', '0', '--all', '--interval', '20ms', '--output', output];
  let done = false;
  const issuing = issue(ca, 60).finally(() => {
    done = true;
  });
  for (let round = 0; !done; round += 1) {
    const child: ChildProcess = spawn(process.execPath, args, { cwd: lab.dir, stdio: 'ignore' });
    await sleep(400 + (round % 7) * 50);
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await issuing;
  const last = await run(process.execPath, [...args, '--once'], { cwd: lab.dir });
  expect(last.code).toBe(0);
  const events = eventsIn(await readFile(output, 'utf8'));
  const first = new Set<string>();
  for (const { id, repeated } of events) {
    expect(first.has(id) && repeated !== true).toBe(false);
    first.add(id);
  }
  expect(new Set(events.map(({ index }) => index)).size).toBe(60);
}, 120_000);

test('SIGTERM ends it with what was found, and the state is whole', async () => {
  const ca = await caWith('ca-term');
  await issue(ca, 2);
  const trust = ['--trusted-root', join(ca.trustDir, 'trusted_root.json'), '--state', join(lab.dir, 'term.json')];
  const args = [main, 'monitor', ca.url, ...trust, '--from', '0', '--all', '--json', '--interval', '50ms'];
  const child = spawn(process.execPath, args, { cwd: lab.dir, stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += String(chunk);
  });
  for (const end = Date.now() + 10_000; eventsIn(out).length < 2 && Date.now() < end; ) await sleep(50);
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  expect([code, eventsIn(out).length]).toEqual([0, 2]);
  expect((await run(process.execPath, [...args, '--once'], { cwd: lab.dir })).stdout).not.toContain('"match"');
});
