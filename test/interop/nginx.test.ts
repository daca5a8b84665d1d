import { chmodSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedScts } from '../../src/cli/verify-certificate-fields.js';
import { encodeSct } from '../../src/ct/sct.js';
import { newKey, v2Body } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { type Received, startLoad } from '../support/load.js';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { type Finished, mustRun, projectDir, run } from './command.js';
import { type Lab, openLab } from './lab.js';
import { type FrontServer, startNginx } from './nginx.js';
import { freePort } from './server-process.js';

const jane = 'jane@example.com';
/** A full tile, and a part of a second. */
const wanted = 300;

let lab: Lab;
let ca: CaServer;
let front: FrontServer;
let url: string;
let client: string;
let issuer: TestIssuer;
let received: readonly Received[];

beforeAll(async () => {
  lab = await openLab();
  // nginx's workers are another user; only the log is theirs to read.
  chmodSync(lab.dir, 0o711);
  const root = join(lab.dir, 'srv');
  mkdirSync(root);
  const port = await freePort();
  url = `https://127.0.0.1:${port}`;
  issuer = lab.keep(await startIssuer({ alg: 'ES256' }));
  const flags = ['--public-url', url, '--ctlog-dir', join(root, 'ctlog')];
  ca = lab.keep(await startCa({ dir: join(lab.dir, 'ca'), config: emailIssuerConfig(issuer.url), log: true, flags }));
  front = lab.keep(
    await startNginx({ dir: join(lab.dir, 'nginx'), port, upstream: Number(new URL(ca.url).port), root }),
  );
  client = join(lab.dir, 'static-ct');
  const inherited = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? '']));
  await mustRun('go', ['build', '-o', client, '.'], {
    cwd: join(projectDir, 'test/interop/static-ct'),
    env: { ...inherited, TMPDIR: lab.dir },
    timeoutMs: 300_000,
  });
  const load = startLoad(ca.url, await issuer.token({ email: jane, email_verified: true }), jane, 8);
  while (load.received.length < wanted) await sleep(20);
  await load.stop();
  received = load.received;
}, 360_000);
afterAll(() => lab.close());

const keyPath = (): string => join(ca.trustDir, 'ctlog.pub.pem');
const sizeOf = (checkpoint: Buffer): number => Number(checkpoint.toString().split('\n')[1]);
const fileInLog = (path: string): string => join(lab.dir, 'srv/ctlog', path);

/** Sunlight's client, which looks for these certificates in the log. */
function readLog(certificates: readonly Received[]): Promise<Finished> {
  const scts = certificates.map(([leaf]) => {
    const [sct] = embeddedScts(leaf ?? Buffer.of());
    if (sct === undefined) throw new Error('a certificate has no SCT');
    return `${Buffer.from(encodeSct(sct)).toString('base64')}\n`;
  });
  const env = { SSL_CERT_FILE: front.certificatePath };
  return run(client, ['-prefix', `${url}/ctlog/`, '-key', keyPath()], { cwd: lab.dir, input: scts.join(''), env });
}

function fsck(): Promise<Finished> {
  const origin = `${url.replace('https://', '')}/ctlog`;
  const args = ['log', 'fsck', `${url}/ctlog`, '--public-key', keyPath(), '--origin', origin];
  const env = { NODE_EXTRA_CA_CERTS: front.certificatePath };
  return run(process.execPath, [join(projectDir, 'dist/main.js'), ...args], { cwd: lab.dir, env });
}

async function requestThroughNginx(): Promise<number> {
  const token = await issuer.token({ email: jane, email_verified: true });
  return (await front.ask('/api/v2/signingCert', v2Body(token, jane, newKey()))).status;
}

const json = async (path: string) => JSON.parse((await front.ask(path)).body.toString());

test('a static-ct-api client and fsck read and verify the log through nginx', async () => {
  // The file may be a tenth of a second behind.
  while (sizeOf((await front.ask('/ctlog/checkpoint')).body) < received.length) await sleep(20);
  const { code, stdout, stderr } = await readLog(received);
  expect([code, stderr]).toEqual([0, '']);
  const { size, included } = JSON.parse(stdout);
  expect(size).toBeGreaterThanOrEqual(received.length);
  expect(new Set(included).size).toBe(received.length);
  expect(await fsck()).toMatchObject({ code: 0, stdout: expect.stringContaining('sound') });
});

test('a certificate is issued through nginx, and the checkpoint that follows covers it', async () => {
  const before = sizeOf((await front.ask('/ctlog/checkpoint')).body);
  expect(await requestThroughNginx()).toBe(200);
  const { tree_size: size } = await json('/ctlog/ct/v1/get-sth');
  expect(size).toBe(before + 1);
  while (sizeOf((await front.ask('/ctlog/checkpoint')).body) < size) await sleep(20);
  expect((await json(`/ctlog/ct/v1/get-entries?start=${size - 1}&end=${size - 1}`)).entries).toHaveLength(1);
});

const immutable = 'public, max-age=31536000, immutable';

test.each([
  ['checkpoint', 'text/plain; charset=utf-8', 'no-cache'],
  ['tile/0/000', 'application/octet-stream', immutable],
  ['tile/data/000', 'application/octet-stream', immutable],
])('%s is a file for nginx, with the type and the caching that Mayfly gives it', async (path, type, caching) => {
  expect(existsSync(fileInLog(path))).toBe(true);
  const { status, headers } = await front.ask(`/ctlog/${path}`);
  expect(status).toBe(200);
  // One value each: two would come as one with a comma.
  expect(headers).toMatchObject({
    'content-type': type,
    'cache-control': caching,
    'access-control-allow-origin': '*',
    'last-modified': expect.any(String),
  });
  const own = await fetch(`${ca.url}/ctlog/${path}`);
  expect([own.headers.get('content-type'), own.headers.get('cache-control')]).toEqual([type, caching]);
  await own.arrayBuffer();
});

test('a partial tile that became full comes from Mayfly, once', async () => {
  expect(existsSync(fileInLog('tile/0/000.p/7'))).toBe(false);
  const { status, headers, body } = await front.ask('/ctlog/tile/0/000.p/7');
  expect({ status, length: body.length }).toEqual({ status: 200, length: 7 * 32 });
  expect(headers).toMatchObject({ 'cache-control': immutable, 'access-control-allow-origin': '*' });
});

test.each(['tile/0/999', 'tile/data/000.p/256', `issuer/${'0'.repeat(64)}`, 'nothing'])(
  '%s is not found, and nobody is told to keep that',
  async (path) => {
    const { status, headers } = await front.ask(`/ctlog/${path}`);
    expect(status).toBe(404);
    expect(headers['cache-control'] ?? '').not.toContain('immutable');
  },
);

test.each([
  '/ctlog/.writer/committed',
  '/ctlog//.writer/committed',
  '/ctlog/%2ewriter/committed',
  '/ctlog/tile/../.writer/journal',
  '/ctlog/tile/%2e%2e/.writer/journal',
  '/ctlog/issuer/..%2f.writer/lock',
  '/ctlog/checkpoint/../.writer/committed',
  '/.writer/committed',
])('%s, which is the writer’s own, is not served', async (path) => {
  expect(existsSync(fileInLog('.writer/committed'))).toBe(true);
  const { status, body } = await front.ask(path);
  expect(status).toBe(404);
  expect(body.includes('mayfly: value')).toBe(false);
});

test('the log’s directory is open to nginx, and the writer’s part of it is not', () => {
  const modeOf = (path: string) => statSync(fileInLog(path)).mode & 0o777;
  expect([modeOf('checkpoint'), modeOf('tile'), modeOf('.writer')]).toEqual([0o644, 0o755, 0o700]);
});

test('a body of more than a mebibyte is refused by Mayfly, in its own words', async () => {
  const body = JSON.stringify({ chain: ['A'.repeat(1_100_000)] });
  const answer = await front.ask('/ctlog/ct/v1/add-chain', body);
  expect(answer.body.toString()).toContain('larger than 1048576 bytes');
});

test('with Mayfly stopped the log is still read whole, and nothing is issued', async () => {
  await ca.close();
  expect((await readLog(received)).code).toBe(0);
  expect((await fsck()).code).toBe(0);
  expect(await requestThroughNginx()).toBe(502);
  expect((await front.ask('/ctlog/ct/v1/get-sth')).status).toBe(502);
});
