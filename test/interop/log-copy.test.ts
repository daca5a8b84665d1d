import { spawn } from 'node:child_process';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseTrustedRoot } from '../../src/cli/request-trust.js';
import { loggedPrecert, verifyIssued } from '../../src/cli/verify-certificate.js';
import { checkInclusion } from '../../src/cli/verify-certificate-log.js';
import { checkLog } from '../../src/ctlog/check.js';
import { movedTo } from '../../src/ctlog/moved.js';
import { readObjectStore } from '../../src/ctlog/object-storage.js';
import { openS3 } from '../../src/ctlog/s3-objects.js';
import { openLog, submission } from '../ctlog/fixtures.js';
import { newKey, post, v2Body, v2Chain } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { emailIssuerConfig } from './ca-server.js';
import { mustRun, run } from './command.js';
import { type PostgresServer, startPostgres } from './postgres-server.js';
import { type S3Server, startS3 } from './s3-server.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

const publicUrl = 'http://ca.interop.test';
const origin = 'ca.interop.test/ctlog';
const main = resolve(import.meta.dirname, '../../dist/main.js');
const jane = { email: 'jane@example.com', email_verified: true };
const dir = mkdtempSync(join(tmpdir(), 'mayfly-copy-'));
const dataDir = join(dir, 'data');
let issuer: TestIssuer;
let s3: S3Server;
let postgres: PostgresServer;

beforeAll(async () => {
  chmodSync(dir, 0o755); // PostgreSQL runs as nobody
  issuer = await startIssuer();
  s3 = await startS3(dir);
  postgres = await startPostgres(dir);
  writeFileSync(join(dir, 'identity.yaml'), emailIssuerConfig(issuer.url));
}, 60_000);

afterAll(async () => {
  await postgres.close();
  await s3.close();
  await issuer.close();
  await rm(dir, { recursive: true, force: true });
}, 60_000);

const store = () => `s3://ctlog/moved?path-style=true&endpoint=${s3.s3.endpoint}`;
const env = () => ({
  AWS_ACCESS_KEY_ID: s3.s3.credentials?.accessKeyId ?? '',
  AWS_SECRET_ACCESS_KEY: s3.s3.credentials?.secretAccessKey ?? '',
});
const inStore = () => [`--ctlog-storage=${store()}`, `--ctlog-postgres=${postgres.url}`];
const copyArgs = (data = dataDir) => [
  ...[main, 'log', 'copy', '--data-dir', data, '--to', store(), '--ctlog-postgres', postgres.url],
  '--no-precertificates',
];
const mayfly = (...args: string[]) => run(process.execPath, args, { cwd: dir, env: env() });

async function serve(more: readonly string[] = [], data = dataDir): Promise<RunningServer & { url: string }> {
  const [port, grpcPort, metricsPort] = await Promise.all([freePort(), freePort(), freePort()]);
  const url = `http://127.0.0.1:${port}`;
  const flags = {
    ...{ host: '127.0.0.1', port, 'grpc-host': '127.0.0.1', 'grpc-port': grpcPort, 'metrics-port': metricsPort },
    ...{ 'data-dir': data, 'config-path': join(dir, 'identity.yaml'), 'public-url': publicUrl },
  };
  const args = [main, 'serve', ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`), ...more];
  const program = { name: 'mayfly', command: process.execPath, args, cwd: dir, env: env(), readyUrl: `${url}/readyz` };
  return { ...(await startServer(program)), url };
}

async function issue(url: string) {
  const key = newKey();
  return {
    key,
    chain: v2Chain(await post(`${url}/api/v2/signingCert`, v2Body(await issuer.token(jane), jane.email, key))),
  };
}

/** How the inclusion proof of a certificate ends, for a client with the newest trusted root; `url` is the log's. */
async function inclusion({ key, chain }: Awaited<ReturnType<typeof issue>>, url: string): Promise<string> {
  const { roots, logs } = parseTrustedRoot(readFileSync(join(dataDir, 'trust/trusted_root.json'), 'utf8'));
  const [leaf = Buffer.of(), ...above] = chain.map(({ raw }) => raw);
  const expectedKey = createPublicKey(key.publicKeyPem).export({ type: 'spki', format: 'der' });
  const issued = { leaf, chain: above, roots, logs, expectedKey, now: new Date() };
  expect((await verifyIssued(issued)).filter(({ status }) => status !== 'passed')).toEqual([]);
  const logged = loggedPrecert(issued);
  if (logged === undefined) throw new Error('no SCT verified');
  return (await checkInclusion(logged, { url, fetch, sleep: async () => {} })).status;
}

/** Adds entries to the log in the directory, without a server. */
async function grow(count: number): Promise<void> {
  const key = createPrivateKey(readFileSync(join(dataDir, 'keys/ctlog/key.pem')));
  const log = await openLog(dir, key, { storage: join(dataDir, 'ctlog'), origin });
  await Promise.all(Array.from({ length: count }, () => log.submit(submission())));
  await log.close();
}

/** Runs the copy and kills it when `reached`; gives whether it had ended before. */
async function killedCopy(reached: () => boolean | Promise<boolean>): Promise<boolean> {
  const child = spawn(process.execPath, copyArgs(), { cwd: dir, env: { ...process.env, ...env() }, stdio: 'ignore' });
  const ended = once(child, 'exit');
  while (child.exitCode === null && !(await reached())) await sleep(2);
  child.kill('SIGKILL');
  await ended;
  return child.exitCode !== null;
}

async function objects(prefix: string): Promise<string[]> {
  const found = await openS3({ ...s3.s3, prefix: 'moved/' });
  try {
    return await found.list(prefix);
  } finally {
    found.close();
  }
}

let old: Awaited<ReturnType<typeof issue>>;

test('a copy that is killed again and again leaves one log that may be written', async () => {
  const first = await serve();
  old = await issue(first.url);
  const refused = await mayfly(...copyArgs());
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('in use by another process')]);
  await first.close();
  await grow(3_000);

  const tiles = (count: number) => async () => (await objects('tile/')).length >= count;
  for (const count of [1, 4, 9]) {
    await killedCopy(tiles(count));
    expect(movedTo(join(dataDir, 'ctlog'))).toBeUndefined();
    await expect(serve(inStore())).rejects.toThrow(/the log is in .* and was never moved/);
  }
  // Another data directory with the same key does not know of the log in the first.
  const other = join(dir, 'other');
  cpSync(dataDir, other, { recursive: true });
  await rm(join(other, 'ctlog'), { recursive: true });
  await expect(serve(inStore(), other)).rejects.toThrow(/"mayfly log copy" was cut short there/);
  await grow(300);
  await killedCopy(() => movedTo(join(dataDir, 'ctlog')) !== undefined);
  await expect(serve()).rejects.toThrow(/was moved to s3:\/\/ctlog\/moved/);

  const copied = await mustRun(process.execPath, copyArgs(), { cwd: dir, env: env() });
  expect(copied.stdout).toMatch(/^moved {2}http:\/\/ca\.interop\.test\/ctlog\n[\s\S]*entries {4}3301\n/);
  await expect(serve()).rejects.toThrow(/was moved to s3:\/\/ctlog\/moved/);
}, 240_000);

test('the log goes on in the store, and the old proofs hold', async () => {
  const server = await serve(inStore());
  const young = await issue(server.url);
  expect(await inclusion(old, `${server.url}/ctlog`)).toBe('passed');
  expect(await inclusion(young, `${server.url}/ctlog`)).toBe('passed');
  await server.close();
  const { code } = await mayfly(main, 'log', 'fsck', '--data-dir', dataDir, ...inStore(), '--no-precertificates');
  expect(code).toBe(0);
  const again = await mayfly(...copyArgs());
  expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('holds this log already, with 3302 entries')]);
}, 120_000);

test('a log in the store is rotated under a reader, and both are served and listed', async () => {
  const standby = join(dir, 'standby');
  cpSync(dataDir, standby, { recursive: true });
  const server = await serve(inStore());
  const rotate = () => mayfly(main, 'log', 'rotate', '--data-dir', dataDir, ...inStore());
  const refused = await rotate();
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('in use by')]);
  await server.close();

  const key = createPublicKey(readFileSync(join(dataDir, 'trust/ctlog.pub.pem')));
  const reader = await readObjectStore({ ...s3.s3, prefix: 'moved/' });
  const done = { reading: true };
  const reading = (async () => {
    const sizes: number[] = [];
    do sizes.push((await checkLog(reader, key, origin)).size);
    while (done.reading);
    return sizes;
  })();
  const rotated = await rotate();
  done.reading = false;
  expect(rotated).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/s3:\/\/ctlog\/moved\n[\s\S]*s3:\/\/ctlog\/moved2\n/),
  });
  expect(new Set(await reading)).toEqual(new Set([3_302]));
  reader.close();
  await expect(serve(inStore(), standby)).rejects.toThrow(/frozen by "mayfly log rotate"/);

  const next = await serve(inStore());
  const young = await issue(next.url);
  expect(await inclusion(old, `${next.url}/ctlog`)).toBe('passed');
  expect(await inclusion(young, `${next.url}/ctlog2`)).toBe('passed');
  const { logs } = parseTrustedRoot(readFileSync(join(dataDir, 'trust/trusted_root.json'), 'utf8'));
  expect(logs).toHaveLength(2);
  await next.close();
  const fsck = await mayfly(main, 'log', 'fsck', '--data-dir', dataDir, ...inStore(), '--no-precertificates');
  expect(fsck).toMatchObject({ code: 0, stdout: expect.stringMatching(/moved: sound[\s\S]*moved2: sound/) });
}, 120_000);

test('a log that was rotated in its directory is moved with its number, and recorded elsewhere as before', async () => {
  const data = join(dir, 'rotated');
  const lock = `--ctlog-lock=${join(dir, 'last')}`;
  const first = await serve([lock], data);
  await issue(first.url);
  await first.close();
  await mustRun(process.execPath, [main, 'log', 'rotate', '--data-dir', data, lock], { cwd: dir });
  const to = `s3://ctlog/second?path-style=true&endpoint=${s3.s3.endpoint}`;
  const postgresFlag = `--ctlog-postgres=${postgres.url}`;
  const copied = await mayfly(main, 'log', 'copy', '--data-dir', data, '--to', to, postgresFlag, lock);
  expect(copied).toMatchObject({ code: 0, stdout: expect.stringMatching(/ {2}to {9}s3:\/\/ctlog\/second2\n/) });
  const next = await serve([`--ctlog-storage=${to}`, postgresFlag, lock], data);
  expect((await issue(next.url)).chain).toHaveLength(3);
  for (const path of ['ctlog', 'ctlog2']) {
    const head = await (await fetch(`${next.url}/${path}/ct/v1/get-sth`)).json();
    expect(head).toMatchObject({ tree_size: 1 });
  }
  await next.close();
}, 120_000);
