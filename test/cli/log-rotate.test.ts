import { createPublicKey, type X509Certificate } from 'node:crypto';
import { chmodSync, cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fsckCommand } from '../../src/cli/log-fsck.js';
import { reindexCommand } from '../../src/cli/log-reindex.js';
import { rotateCommand } from '../../src/cli/log-rotate.js';
import { parseTrustedRoot } from '../../src/cli/request-trust.js';
import { loggedPrecert, verifyIssued } from '../../src/cli/verify-certificate.js';
import { checkInclusion } from '../../src/cli/verify-certificate-log.js';
import type { RunningServer } from '../../src/server/start.js';
import { emailConfig, start, startFailure, temporary } from '../server/lab.js';
import { newKey, post, v2Body, v2Chain } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';

const jane = { email: 'jane@example.com', email_verified: true };
const publicUrl = 'https://ca.example.com';
let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await startIssuer({ alg: 'ES256' });
});
afterAll(() => issuer.close());

function lab() {
  const dir = temporary();
  const dataDir = join(dir, 'data');
  const flags = { 'data-dir': dataDir, 'config-path': emailConfig(dir, issuer.url), 'public-url': publicUrl };
  return { dataDir, flags };
}

function io() {
  const lines: string[] = [];
  const out = (text: string) => void lines.push(text);
  return { lines, out, err: out, fetch, now: () => new Date(), interactive: false };
}

interface Received {
  readonly chain: readonly X509Certificate[];
  readonly key: ReturnType<typeof newKey>;
}

async function issue(server: RunningServer): Promise<Received> {
  const key = newKey();
  const body = v2Body(await issuer.token(jane), jane.email, key);
  return { chain: v2Chain(await post(`${server.url}/api/v2/signingCert`, body)), key };
}

/** What a client finds that has nothing but the certificate and the newest trusted root. */
async function verify({ chain, key }: Received, dataDir: string) {
  const { roots, logs } = parseTrustedRoot(readFileSync(join(dataDir, 'trust', 'trusted_root.json'), 'utf8'));
  const [leaf, ...above] = chain.map(({ raw }) => raw);
  const expectedKey = createPublicKey(key.publicKeyPem).export({ type: 'spki', format: 'der' });
  const issued = { leaf: leaf ?? Buffer.of(), chain: above, roots, logs, expectedKey, now: new Date() };
  const checks = await verifyIssued(issued);
  return { logged: loggedPrecert(issued), failed: checks.filter(({ status }) => status !== 'passed') };
}

interface TrustedLogJson {
  readonly baseUrl: string;
  readonly publicKey: { readonly validFor: { readonly start: string; readonly end?: string } };
}

function trustedLogs(dataDir: string): TrustedLogJson[] {
  const json = JSON.parse(readFileSync(join(dataDir, 'trust', 'trusted_root.json'), 'utf8')) as {
    ctlogs: TrustedLogJson[];
  };
  return json.ctlogs;
}

const rotate = (dataDir: string, at = io()) => rotateCommand({ dataDir }, at);
const reader = (url: string) => ({ url, fetch, sleep: async () => {} });

test('after a rotation new certificates have SCTs of the next log, and old ones still verify', async () => {
  const { dataDir, flags } = lab();
  const first = await start(flags);
  const old = await issue(first);
  await first.close();
  const oldKeyFile = readFileSync(join(dataDir, 'keys/ctlog/key.pem'), 'utf8');
  const said = io();
  await rotate(dataDir, said);
  expect(said.lines.join('')).toMatch(/frozen {2}https:\/\/ca\.example\.com\/ctlog\n[\s\S]*opened {2}.*\/ctlog2\n/);
  expect(readFileSync(join(dataDir, 'keys/ctlog/key.pem'), 'utf8')).not.toBe(oldKeyFile);
  expect(existsSync(join(dataDir, 'keys/ctlog/next.pem'))).toBe(false);

  const second = await start(flags);
  const young = await issue(second);
  const [before, after] = [await verify(old, dataDir), await verify(young, dataDir)];
  expect([before.failed, after.failed]).toEqual([[], []]);
  expect(before.logged?.sct.logId).not.toEqual(after.logged?.sct.logId);
  if (before.logged === undefined || after.logged === undefined) throw new Error('no SCT verified');
  const proofs = [
    await checkInclusion(before.logged, reader(`${second.url}/ctlog`)),
    await checkInclusion(after.logged, reader(`${second.url}/ctlog2`)),
  ];
  expect(proofs.map(({ status }) => status)).toEqual(['passed', 'passed']);

  const [frozen, current] = trustedLogs(dataDir);
  expect([frozen?.baseUrl, current?.baseUrl]).toEqual([`${publicUrl}/ctlog`, `${publicUrl}/ctlog2`]);
  const end = frozen?.publicKey.validFor.end ?? '';
  expect(Date.parse(end)).toBe(Number(before.logged.sct.timestamp));
  expect(Date.parse(current?.publicKey.validFor.start ?? '')).toBeGreaterThan(Date.parse(end));
  expect(current?.publicKey.validFor.end).toBeUndefined();
  await second.close();

  const checked = io();
  expect(await fsckCommand(undefined, { dataDir }, checked)).toBe(0);
  expect(checked.lines.join('')).toMatch(/origin +ca\.example\.com\/ctlog\n[\s\S]*origin +ca\.example\.com\/ctlog2\n/);
});

test('a frozen log answers readers as before, takes nothing, and does not change over restarts', async () => {
  const { dataDir, flags } = lab();
  const first = await start(flags);
  const { chain } = await issue(first);
  await first.close();
  await rotate(dataDir);
  const checkpoint = readFileSync(join(dataDir, 'ctlog', 'checkpoint'), 'utf8');
  for (let round = 0; round < 2; round += 1) {
    const server = await start(flags);
    const get = async (path: string) => (await fetch(`${server.url}/ctlog/${path}`)).json() as Promise<object>;
    expect(await (await fetch(`${server.url}/ctlog/checkpoint`)).text()).toBe(checkpoint);
    expect(await get('ct/v1/get-sth')).toMatchObject({ tree_size: 1 });
    expect(await get('ct/v1/get-entries?start=0&end=0')).toMatchObject({ entries: [{}] });
    expect(await get('ct/v1/get-roots')).toEqual({ certificates: [] });
    const body = JSON.stringify({ chain: chain.map(({ raw }) => raw.toString('base64')) });
    const refused = await post(`${server.url}/ctlog/ct/v1/add-chain`, body);
    expect([refused.status, refused.text]).toEqual([400, expect.stringContaining('is frozen since')]);
    const taken = await post(`${server.url}/ctlog2/ct/v1/add-chain`, body);
    expect(taken.status).toBe(200);
    await server.close();
  }
  expect(readFileSync(join(dataDir, 'ctlog', 'checkpoint'), 'utf8')).toBe(checkpoint);
});

test('logs can be rotated again and again, also one that never had an entry', async () => {
  const { dataDir, flags } = lab();
  await (await start(flags)).close();
  for (let round = 0; round < 3; round += 1) await rotate(dataDir);
  const server = await start(flags);
  const received = await issue(server);
  expect((await verify(received, dataDir)).failed).toEqual([]);
  expect(trustedLogs(dataDir).map(({ baseUrl }) => baseUrl)).toEqual(
    ['ctlog', 'ctlog2', 'ctlog3', 'ctlog4'].map((name) => `${publicUrl}/${name}`),
  );
  await server.close();
  expect(await fsckCommand(undefined, { dataDir }, io())).toBe(0);
});

test('a rotation is refused while a server runs, and where there is no log, and makes nothing there', async () => {
  const { dataDir, flags } = lab();
  await expect(rotate(dataDir)).rejects.toMatchObject({
    code: 'STARTUP',
    detail: expect.stringMatching(/holds no log key/),
  });
  expect(existsSync(dataDir)).toBe(false);
  const server = await start(flags);
  await issue(server);
  await expect(rotate(dataDir)).rejects.toMatchObject({
    code: 'STARTUP',
    detail: expect.stringMatching(/in use by another process/),
  });
  expect(existsSync(join(dataDir, 'ctlog-shards.json'))).toBe(false);
  await issue(server);
  await server.close();
  writeFileSync(join(dataDir, 'ctlog2'), '');
  await expect(rotate(dataDir)).rejects.toThrow();
  const again = await start(flags);
  expect((await issue(again)).chain).toHaveLength(3);
  await again.close();
});

test.each([
  ['a file', 'last'],
  ['a directory', 'records/'],
])('with --ctlog-lock each log has a record of its own, in %s', async (_name, place) => {
  const { dataDir, flags } = lab();
  const ctlogLock = `${temporary()}/${place}`;
  const locked = { ...flags, 'ctlog-lock': ctlogLock };
  const first = await start(locked);
  await issue(first);
  await first.close();
  const copy = join(temporary(), 'copy');
  cpSync(join(dataDir, 'ctlog'), copy, { recursive: true });
  const more = await start(locked);
  await issue(more);
  await more.close();
  const whole = join(temporary(), 'whole');
  renameSync(join(dataDir, 'ctlog'), whole);
  renameSync(copy, join(dataDir, 'ctlog'));
  await expect(rotateCommand({ dataDir, ctlogLock }, io())).rejects.toMatchObject({
    detail: expect.stringContaining('probably restored from an old backup'),
  });
  rmSync(join(dataDir, 'ctlog'), { recursive: true });
  renameSync(whole, join(dataDir, 'ctlog'));
  await rotateCommand({ dataDir, ctlogLock }, io());
  const last = await start(locked);
  expect((await verify(await issue(last), dataDir)).failed).toEqual([]);
  await last.close();
});

describe('a rotation that was cut short', () => {
  const key = (dataDir: string, name: string) => join(dataDir, 'keys/ctlog', name);

  test('before its list of logs was written changes nothing, and can be run again', async () => {
    const { dataDir, flags } = lab();
    await (await start(flags)).close();
    writeFileSync(key(dataDir, 'next.pem'), 'half a k', { mode: 0o600 });
    const server = await start(flags);
    await issue(server);
    await server.close();
    await rotate(dataDir);
    expect(await fsckCommand(undefined, { dataDir }, io())).toBe(0);
  });

  test('after that is finished by the next start', async () => {
    const { dataDir, flags } = lab();
    await (await start(flags)).close();
    const oldKey = readFileSync(key(dataDir, 'key.pem'));
    await rotate(dataDir);
    renameSync(key(dataDir, 'key.pem'), key(dataDir, 'next.pem'));
    writeFileSync(key(dataDir, 'key.pem'), oldKey, { mode: 0o600 });
    rmSync(join(dataDir, 'ctlog', '.writer', 'frozen'));
    rmSync(join(dataDir, 'ctlog2'), { recursive: true });
    const server = await start(flags);
    await issue(server);
    await server.close();
    expect(existsSync(join(dataDir, 'ctlog', '.writer', 'frozen'))).toBe(true);
    expect(readFileSync(key(dataDir, 'key.pem'))).not.toEqual(oldKey);
    expect(await fsckCommand(undefined, { dataDir }, io())).toBe(0);
  });
});

describe('what a frozen log is protected from', () => {
  async function rotated() {
    const { dataDir, flags } = lab();
    const server = await start(flags);
    await issue(server);
    await server.close();
    const oldKey = readFileSync(join(dataDir, 'keys/ctlog/key.pem'));
    await rotate(dataDir);
    return { dataDir, flags, oldKey };
  }

  test('an older copy of the keys alone', async () => {
    const { dataDir, flags, oldKey } = await rotated();
    writeFileSync(join(dataDir, 'keys/ctlog/key.pem'), oldKey, { mode: 0o600 });
    expect(await startFailure(flags)).toMatch(/is not the key of the log in use, "ctlog2".*restore both/);
  });

  test('an older copy of everything but the log', async () => {
    const { dataDir, flags, oldKey } = await rotated();
    writeFileSync(join(dataDir, 'keys/ctlog/key.pem'), oldKey, { mode: 0o600 });
    rmSync(join(dataDir, 'ctlog-shards.json'));
    expect(await startFailure(flags)).toMatch(/was frozen by "mayfly log rotate" and takes no entry any more/);
  });

  test('a list of logs that is damaged', async () => {
    const { dataDir, flags } = await rotated();
    writeFileSync(join(dataDir, 'ctlog-shards.json'), '{"format": 1, "frozen": [{}]}');
    expect(await startFailure(flags)).toMatch(/ctlog-shards\.json is not a list of logs as a rotation writes it/);
  });

  test('damage to it does not stop the log in use, and is said', async () => {
    const { dataDir, flags } = await rotated();
    chmodSync(join(dataDir, 'ctlog', 'checkpoint'), 0o644);
    writeFileSync(join(dataDir, 'ctlog', 'checkpoint'), 'nonsense');
    const lines: string[] = [];
    const server = await start(flags, lines);
    expect(lines.join('')).toMatch(/the frozen log ca\.example\.com\/ctlog is not served/);
    expect((await fetch(`${server.url}/ctlog/checkpoint`)).status).toBe(404);
    const received = await issue(server);
    expect((await verify(received, dataDir)).failed).toEqual([]);
    expect(trustedLogs(dataDir)).toHaveLength(2);
    await server.close();
    const said = io();
    expect(await fsckCommand(undefined, { dataDir }, said)).toBe(1);
    expect(said.lines.join('')).toMatch(/ctlog: NOT SOUND, 1 thing is wrong\n {2}checkpoint\n/);
  });
});

describe('reindex', () => {
  test('rebuilds the index of the log in use, and counts its entries', async () => {
    const { dataDir, flags } = lab();
    const server = await start(flags);
    const received = await issue(server);
    await issue(server);
    await expect(reindexCommand({ dataDir }, io())).rejects.toMatchObject({
      detail: expect.stringMatching(/in use by another process/),
    });
    await server.close();
    rmSync(join(dataDir, 'ctlog-index'), { recursive: true });
    const said = io();
    await reindexCommand({ dataDir }, said);
    expect(said.lines.join('')).toMatch(/ctlog-index: index of 2 entries rebuilt in/);
    const again = await start(flags);
    const { logged } = await verify(received, dataDir);
    if (logged === undefined) throw new Error('no SCT verified');
    expect(await checkInclusion(logged, reader(`${again.url}/ctlog`))).toMatchObject({ status: 'passed' });
    await again.close();
  });

  test('is refused where there is no log', async () => {
    const { dataDir } = lab();
    await expect(reindexCommand({ dataDir }, io())).rejects.toMatchObject({
      detail: expect.stringMatching(/holds no log key/),
    });
    expect(existsSync(dataDir)).toBe(false);
  });
});
