import { createPrivateKey } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DataDirectoryOptions, offlineRootPresent, openDataDirectory } from '../../src/ca/data-directory.js';
import { now } from './chains.js';

let dir: string;
beforeEach(() => {
  dir = join(mkdtempSync(join(tmpdir(), 'mayfly-')), 'data');
});
afterEach(() => rmSync(join(dir, '..'), { recursive: true, force: true }));

const open = async (options: Partial<DataDirectoryOptions> = {}) => {
  const data = await openDataDirectory(dir, { clock: () => now, ...options });
  return { data, ca: await data.openCa() };
};
const modeOf = (path: string) => (statSync(join(dir, path)).mode & 0o777).toString(8);
const startup = (message: string) =>
  expect.objectContaining({ code: 'STARTUP', detail: expect.stringContaining(message) });
const remove = (path: string) => rmSync(join(dir, path), { recursive: true });

test('the first start makes root, issuing CA and log key, and later ones find them', async () => {
  const first = await open();
  const second = await open();
  expect(second.ca.chainPem).toEqual(first.ca.chainPem);
  expect(second.ca.chain).toHaveLength(2);
  expect(second.data.logKey.equals(first.data.logKey)).toBe(true);
  expect(first.ca.signer.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
  expect(JSON.parse(readFileSync(join(dir, 'format'), 'utf8'))).toEqual({ format: 2, holds: ['ctlog', 'ca'] });
  expect(readdirSync(dir).sort()).toEqual(['authorities.json', 'authorities.lock', 'format', 'keys', 'offline']);
  expect(readdirSync(join(dir, 'keys')).sort()).toEqual(['ca', 'ctlog']);
});

test('keys are for their owner only', async () => {
  await open();
  expect(['keys', 'keys/ca', 'keys/ctlog', 'offline'].map(modeOf)).toEqual(['700', '700', '700', '700']);
  const files = ['keys/ca/key.pem', 'keys/ctlog/key.pem', 'offline/root.key.pem', 'offline/root.passphrase'];
  expect(files.map(modeOf)).toEqual(['600', '600', '600', '600']);
});

test('the root key opens with its passphrase only, and the server does not miss it', async () => {
  await open();
  const key = readFileSync(join(dir, 'offline/root.key.pem'), 'utf8');
  const passphrase = readFileSync(join(dir, 'offline/root.passphrase'), 'utf8').trim();
  expect(key).toContain('BEGIN ENCRYPTED PRIVATE KEY');
  expect(createPrivateKey({ key, passphrase }).asymmetricKeyDetails?.namedCurve).toBe('secp384r1');
  expect(offlineRootPresent(dir)).toBe(true);
  remove('offline');
  expect(offlineRootPresent(dir)).toBe(false);
  await expect(open()).resolves.toBeDefined();
});

test('a server with a CA of its own gets a log key and no CA', async () => {
  await openDataDirectory(dir, { clock: () => now });
  expect(readdirSync(join(dir, 'keys'))).toEqual(['ctlog']);
  await open();
  expect(readdirSync(join(dir, 'keys')).sort()).toEqual(['ca', 'ctlog']);
});

test.each(['keys/ca/key.pem', 'keys/ctlog/key.pem'])('a start refuses %s when others can read it', async (path) => {
  await open();
  chmodSync(join(dir, path), 0o644);
  await expect(open()).rejects.toEqual(startup(`chmod 600 ${join(dir, path)}`));
});

test('a start refuses a key directory that others can enter', async () => {
  await open();
  chmodSync(join(dir, 'keys'), 0o755);
  await expect(open()).rejects.toEqual(startup('chmod 700'));
});

const isRoot = process.getuid?.() === 0;
(isRoot ? test : test.skip)('a mounted Secret, group-readable behind ..data, is accepted', async () => {
  await open();
  const set = join(dir, 'keys/ca');
  mkdirSync(join(set, '..2026'));
  for (const name of ['key.pem', 'chain.pem']) {
    renameSync(join(set, name), join(set, '..2026', name));
    chmodSync(join(set, '..2026', name), 0o440);
    symlinkSync(`..data/${name}`, join(set, name));
  }
  symlinkSync('..2026', join(set, '..data'));
  await expect(open()).resolves.toBeDefined();
  chmodSync(join(set, '..2026/key.pem'), 0o444);
  await expect(open()).rejects.toEqual(startup('defaultMode 0400'));
});

test.each<[string, string]>([
  ['keys', 'keys/ctlog/key.pem is missing, though this data directory had it'],
  ['keys/ca', 'keys/ca/key.pem is missing, though this data directory had it; restore it from backup'],
  ['keys/ctlog', 'keys/ctlog/key.pem is missing, though'],
  ['keys/ca/key.pem', 'keys/ca/key.pem: it is missing'],
  ['keys/ca/chain.pem', 'keys/ca/chain.pem: it is missing beside'],
  ['keys/ctlog/key.pem', 'keys/ctlog/key.pem: it is missing'],
  ['authorities.json', 'authorities.json is missing, though this data directory had it'],
])('a start never replaces %s that was there once', async (path, message) => {
  await open();
  remove(path);
  await expect(open()).rejects.toEqual(startup(message));
});

test('a start refuses a log without its key, even when nothing says that it was here', async () => {
  mkdirSync(join(dir, 'ctlog'), { recursive: true });
  writeFileSync(join(dir, 'ctlog/checkpoint'), 'x');
  await expect(open()).rejects.toEqual(startup('holds a log, but the key it is signed with'));
});

test('a start refuses a root without its issuing CA', async () => {
  await open();
  remove('keys/ca');
  remove('format');
  remove('authorities.json');
  await expect(open()).rejects.toEqual(startup('holds a root, but the issuing CA'));
});

test.each<[string, string, string]>([
  ['keys/ca/key.pem', 'garbage', 'keys/ca/key.pem: found no PEM block'],
  ['keys/ca/chain.pem', 'garbage', 'keys/ca/chain.pem: found no PEM block "CERTIFICATE"'],
  ['keys/ctlog/key.pem', 'garbage', 'keys/ctlog/key.pem cannot be read'],
  ['format', 'garbage', 'format is no format file'],
  ['format', '{"format": 3, "holds": ["ca"]}', 'says version 3, and this version of mayfly knows up to 2'],
  ['authorities.json', 'garbage', 'authorities.json is not JSON'],
  [
    'authorities.json',
    '{"version": 1, "cas": [{}]}',
    'authorities.json is no record of certificate authorities at cas.0.',
  ],
])('a start names %s when it holds %s', async (path, content, message) => {
  await open();
  writeFileSync(join(dir, path), content);
  await expect(open()).rejects.toEqual(startup(message));
});

test('an expired issuing CA is named with its file', async () => {
  await open();
  await expect(open({ clock: () => now + 6 * 365 * 86_400_000 })).rejects.toEqual(startup('has expired'));
});

test('an older data directory is upgraded step by step, once', async () => {
  await open();
  const steps: number[] = [];
  writeFileSync(join(dir, 'format'), '{"format": 1, "holds": ["ctlog", "ca"]}');
  const upgrades = [1, 2].map((version) => async () => {
    steps.push(version);
  });
  await open({ upgrades });
  await open({ upgrades });
  expect(steps).toEqual([1, 2]);
  expect(JSON.parse(readFileSync(join(dir, 'format'), 'utf8'))).toEqual({ format: 3, holds: ['ctlog', 'ca'] });
});

describe('a first start that was interrupted', () => {
  const stagedOffline = 'offline.new-0123456789abcdef';

  test('before the keys were in place leaves nothing that matters', async () => {
    mkdirSync(join(dir, 'keys/ca.new-0123456789abcdef'), { recursive: true, mode: 0o700 });
    mkdirSync(join(dir, 'keys/ctlog.new-0123456789abcdef'));
    mkdirSync(join(dir, stagedOffline));
    writeFileSync(join(dir, stagedOffline, 'root.pem'), '');
    writeFileSync(join(dir, 'format.new'), '{');
    await open();
    expect(readdirSync(dir).sort()).toEqual(['authorities.json', 'authorities.lock', 'format', 'keys', 'offline']);
    expect(readdirSync(join(dir, 'keys')).sort()).toEqual(['ca', 'ctlog']);
  });

  test('between issuing key and root is finished with the right root', async () => {
    const { ca } = await open();
    renameSync(join(dir, 'offline'), join(dir, stagedOffline));
    remove('format');
    const again = await open();
    expect(again.ca.chainPem).toEqual(ca.chainPem);
    expect(readFileSync(join(dir, 'offline/root.pem'), 'utf8')).toBe(ca.chainPem[1]);
  });

  test('before the format was written is finished', async () => {
    const { ca } = await open();
    remove('format');
    expect((await open()).ca.chainPem).toEqual(ca.chainPem);
    expect(readdirSync(dir).sort()).toEqual(['authorities.json', 'authorities.lock', 'format', 'keys', 'offline']);
  });
});

test('two first starts at once end with one CA and its root', async () => {
  const results = await Promise.allSettled([open(), open()]);
  const chains = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value.ca.chainPem] : []));
  const { ca } = await open();
  expect(chains.every((chain) => chain[0] === ca.chainPem[0])).toBe(true);
  expect(readFileSync(join(dir, 'offline/root.pem'), 'utf8')).toBe(ca.chainPem[1]);
});

test('a data directory that cannot be made is named', async () => {
  mkdirSync(join(dir, '..'), { recursive: true });
  writeFileSync(dir, 'a file');
  await expect(open()).rejects.toEqual(startup(dir));
});
