import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { openDataDirectory } from '../../src/ca/data-directory.js';
import { createKeySigner } from '../../src/ca/file-signer.js';
import { createMetrics } from '../../src/metrics.js';
import { loadTsaChain } from '../../src/tsa/chain.js';
import { createTsa } from '../../src/tsa/create.js';
import { openTsaKeys } from '../../src/tsa/first-start.js';
import { recordTsa } from '../../src/tsa/history.js';
import { openTsa, type TsaSettings } from '../../src/tsa/open.js';
import { now, openTestTsa, pemOf, policy } from './lab.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mayfly-tsa-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const options = { organization: 'test', now, random: randomBytes };
const clock = () => now;

describe('openTsaKeys', () => {
  beforeEach(async () => {
    await openDataDirectory(directory, { clock });
  });

  test('makes key and chain at the first start and finds them again', async () => {
    const made = await openTsaKeys(directory, options);
    expect(await openTsaKeys(directory, options)).toEqual(made);
    expect((await stat(join(directory, 'keys/tsa'))).mode & 0o777).toBe(0o700);
    expect((await stat(made.keyPath)).mode & 0o777).toBe(0o600);
    expect(JSON.parse(await readFile(join(directory, 'format'), 'utf8')).holds).toEqual(['ctlog', 'tsa']);
    expect(await readdir(join(directory, 'keys'))).toEqual(['ctlog', 'tsa']);
  });

  test('takes the keys of a process that was faster, and removes what a crash left', async () => {
    await mkdir(join(directory, 'keys/tsa.new-dead'));
    const made = await openTsaKeys(directory, options);
    await rm(join(directory, 'format'));
    expect(await openTsaKeys(directory, options)).toEqual(made);
    expect(await readdir(join(directory, 'keys'))).toEqual(['ctlog', 'tsa']);
  });

  test('keeps the root key nowhere', async () => {
    await openTsaKeys(directory, options);
    expect(existsSync(join(directory, 'offline'))).toBe(false);
    expect(await readdir(join(directory, 'keys/tsa'))).toEqual(['chain.pem', 'key.pem']);
  });

  test('does not make keys anew that were here once', async () => {
    await openTsaKeys(directory, options);
    await rm(join(directory, 'keys/tsa'), { recursive: true });
    await expect(openTsaKeys(directory, options)).rejects.toThrow(/tsa\/key\.pem is missing, though .* had it/);
  });

  test('makes new keys when the old ones were put aside as keys/tsa.old', async () => {
    const old = await openTsaKeys(directory, options);
    await rename(join(directory, 'keys/tsa'), join(directory, 'keys/tsa.old'));
    const made = await openTsaKeys(directory, options);
    expect(made.chainPem).not.toBe(old.chainPem);
    expect(await openTsaKeys(directory, options)).toEqual(made);
  });

  test.each(['key.pem', 'chain.pem'])('says that %s is missing', async (name) => {
    await openTsaKeys(directory, options);
    await rm(join(directory, 'keys/tsa', name));
    await expect(openTsaKeys(directory, options)).rejects.toThrow(new RegExp(`tsa/${name}.*missing`));
  });
});

describe('loadTsaChain', () => {
  test('takes what createTsa makes', async () => {
    const { privateKey, chain } = await createTsa(options);
    const loaded = loadTsaChain(pemOf(chain), createKeySigner(privateKey), now);
    expect(loaded.certificates.map((der) => Buffer.from(der))).toEqual(chain.map((der) => Buffer.from(der)));
    expect(loaded.notBefore).toEqual(new Date('2026-03-01T12:00:00Z'));
  });

  test('says what is wrong with a chain', async () => {
    const { privateKey, chain } = await createTsa(options);
    const other = await createTsa(options);
    const [own = new Uint8Array(), root = new Uint8Array()] = chain;
    const signer = createKeySigner(privateKey);
    const load =
      (certificates: readonly Uint8Array[], at = now) =>
      () =>
        loadTsaChain(pemOf(certificates), signer, at);
    expect(load([])).toThrow(/no PEM block "CERTIFICATE"/);
    expect(load([root, own])).toThrow(/certificate 1 of 2 .*root.* is of another key/);
    expect(load(other.chain)).toThrow(/another key/);
    expect(load([own])).toThrow(/certificate 1 of 1 .* is not self-signed; expected the chain to end with a root/);
    expect(load([own, ...other.chain.slice(1)])).toThrow(/was not issued by certificate 2 of 2/);
    expect(load([own, own])).toThrow(/certificate 2 of 2 .* is not a CA certificate/);
    expect(load(chain, now - 86_400_000)).toThrow(/not valid before 2026-03-01T12:00:00\.000Z/);
    expect(load(chain, now + 3651 * 86_400_000)).toThrow(/has expired at/);
    expect(() => loadTsaChain(pemOf([Buffer.from('3000', 'hex')]), signer, now)).toThrow(/chain cannot be read/);
  });

  test('refuses the certificate of a CA as that of a timestamp authority', async () => {
    const { createRoot } = await import('../../src/ca/create.js');
    const root = await createRoot({ ...options, commonName: 'x', curve: 'P-256', lifetimeDays: 1 });
    const load = () => loadTsaChain(pemOf([root.certificate]), createKeySigner(root.privateKey), now);
    expect(load).toThrow(/needs the extended key usage timeStamping, critical and alone \(RFC 3161 Section 2\.3\)/);
  });
});

describe('recordTsa', () => {
  const one = [Uint8Array.of(1), Uint8Array.of(2)];
  const two = [Uint8Array.of(3)];
  const day = (n: number): Date => new Date(now + n * 86_400_000);
  const plain = async (chain: readonly Uint8Array[] | undefined, at: Date) =>
    (await recordTsa(directory, chain, at)).map((period) => ({ first: period.chain[0]?.[0], end: period.end }));

  test('knows every chain there was, the one in use first', async () => {
    expect(await plain(undefined, day(0))).toEqual([]);
    expect(existsSync(join(directory, 'tsa-chains.json'))).toBe(false);
    expect(await plain(one, day(1))).toEqual([{ first: 1, end: undefined }]);
    expect(await plain(one, day(2))).toEqual([{ first: 1, end: undefined }]);
    expect(await plain(two, day(3))).toEqual([
      { first: 3, end: undefined },
      { first: 1, end: day(3) },
    ]);
    expect(await plain(undefined, day(4))).toEqual([
      { first: 3, end: day(4) },
      { first: 1, end: day(3) },
    ]);
    expect(await plain(one, day(5))).toEqual([
      { first: 1, end: undefined },
      { first: 3, end: day(4) },
    ]);
  });

  test.each(['', '{}', '[{"chain":[]}]', '[{"chain":["!"]}]'])('refuses the record %j by its name', async (text) => {
    await writeFile(join(directory, 'tsa-chains.json'), text);
    await expect(recordTsa(directory, one, day(0))).rejects.toThrow(/record of timestamp chains .*tsa-chains\.json/);
  });
});

describe('openTsa', () => {
  const deps = () => ({
    dataDir: directory,
    logger: pino({ level: 'silent' }),
    metrics: createMetrics('test', 'test'),
    clock,
    monotonic: () => 0,
    random: randomBytes,
    lowest: () => 0,
    openRemoteKey: () => Promise.reject(new Error('there is no key elsewhere')),
  });
  const settings = (files: { keyPath: string; chainPath: string; password?: string }): TsaSettings => ({
    policy,
    clockLimitMs: 1000,
    key: { in: 'file', ...files },
  });

  async function written(password?: string): Promise<{ keyPath: string; chainPath: string }> {
    const { privateKey, chain } = await createTsa(options);
    const keyPath = join(directory, 'tsa.key');
    const chainPath = join(directory, 'tsa.pem');
    const cipher = password === undefined ? {} : { cipher: 'aes-256-cbc', passphrase: password };
    await writeFile(keyPath, privateKey.export({ type: 'pkcs8', format: 'pem', ...cipher }), { mode: 0o600 });
    await writeFile(chainPath, pemOf(chain));
    return { keyPath, chainPath };
  }

  test('opens key and chain in files, with a password', async () => {
    const files = await written('secret');
    const opened = await openTsa(settings({ ...files, password: 'secret' }), deps());
    expect(opened.authority.chainPem).toBe(await readFile(files.chainPath, 'utf8'));
    expect(opened.authority.trouble()).toBeUndefined();
    await opened.close();
    await expect(openTsa(settings({ ...files, password: 'wrong' }), deps())).rejects.toThrow(
      /--tsa-key .*tsa\.key: .*password is wrong/,
    );
  });

  test('signs with a key that is elsewhere, and gives it back when its chain is wrong', async () => {
    const { privateKey, chain } = await createTsa(options);
    const chainPath = join(directory, 'tsa.pem');
    await writeFile(chainPath, pemOf(chain));
    const asked: unknown[] = [];
    let closed = 0;
    const openRemoteKey = async (choice: unknown) => {
      asked.push(choice);
      const { privateKey: _, ...signer } = createKeySigner(privateKey);
      return { ...signer, close: async () => void closed++ };
    };
    const key = { in: 'kms', resource: 'hashivault://tsa', chainPath } as const;
    const remote: TsaSettings = { policy, clockLimitMs: 1000, key };
    const opened = await openTsa(remote, { ...deps(), openRemoteKey });
    expect(asked).toEqual([key]);
    expect(opened.authority.trouble()).toBeUndefined();
    await opened.close();
    expect(closed).toBe(1);
    await writeFile(chainPath, pemOf((await openTestTsa()).chain));
    await expect(openTsa(remote, { ...deps(), openRemoteKey })).rejects.toThrow(/is of another key/);
    expect(closed).toBe(2);
  });

  test('names the flag and the file that is wrong', async () => {
    const files = await written();
    const open = (changed: object) => openTsa(settings({ ...files, ...changed }), deps());
    await expect(open({ keyPath: join(directory, 'none') })).rejects.toThrow(/none: it is missing/);
    await expect(open({ chainPath: join(directory, 'none') })).rejects.toThrow(/--tsa-cert-chain .*none: .*ENOENT/);
    await writeFile(files.chainPath, pemOf((await openTestTsa()).chain));
    await expect(open({})).rejects.toThrow(/--tsa-cert-chain .*tsa\.pem: certificate 1 of 2 .* is of another key/);
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    await writeFile(files.keyPath, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await expect(open({})).rejects.toThrow(/--tsa-key .*tsa\.key: the key is of the kind EC secp256k1/);
  });
});
