import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CeremonyPlan, chainsOf, type Holder, holdCeremony } from '../../src/ca/ceremony.js';
import { type CeremonyFile, leftovers, writeDirectory, writeFiles } from '../../src/ca/ceremony-files.js';
import { encryptedPem, generateKey, type NewKeyKind, newKeyKindOf, newKeyKinds } from '../../src/ca/ceremony-key.js';
import { loadChain } from '../../src/ca/chain.js';
import { createKeySigner, openFileSigner } from '../../src/ca/file-signer.js';
import { checkProfile } from '../../src/ca/profile-check.js';
import type { Signer } from '../../src/ca/signer.js';
import { loadTsaChain } from '../../src/tsa/chain.js';
import { parseCertificate } from '../../src/x509/certificate.js';
import { decodePem } from '../../src/x509/pem.js';
import { now } from './ceremony-drafts.js';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const folder = mkdtempSync(join(tmpdir(), 'mayfly-ceremony-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** One key of each kind: RSA keys take a second to make. */
const signers = new Map<NewKeyKind, Signer>();
for (const kind of newKeyKinds) signers.set(kind, createKeySigner(await generateKey(kind)));
const signerOf = (kind: NewKeyKind): Signer => signers.get(kind) ?? createKeySigner(createPrivateKey(''));
const p256 = async (): Promise<Signer> => createKeySigner(await generateKey('P-256'));

const holder = (signer: Signer, commonName: string, lifetimeDays = 1000): Holder => ({
  signer,
  commonName,
  lifetimeDays,
});
const plan = (root: Signer, more: Partial<CeremonyPlan> = {}): CeremonyPlan => ({
  organization: 'Example',
  root: holder(root, 'root', 3650),
  now,
  random: randomBytes,
  ...more,
});

test.each(newKeyKinds)('a %s root signs a P-256 issuing CA and a timestamp authority', async (kind) => {
  const [issuing, timestamping] = [await p256(), await p256()];
  const made = await holdCeremony(
    plan(signerOf(kind), { issuing: holder(issuing, 'issuing'), timestamping: holder(timestamping, 'tsa') }),
  );
  const [chain = '', tsaChain = ''] = chainsOf(made);
  expect(loadChain(chain, issuing, now).chain).toHaveLength(2);
  expect(loadTsaChain(tsaChain, timestamping, now).certificates).toHaveLength(2);
  for (const pem of [chain, tsaChain, made.root]) expect(checkProfile(pem, { now })).toEqual([]);
});

test.each(newKeyKinds)('a P-384 root signs a %s issuing CA', async (kind) => {
  const root = createKeySigner(await generateKey('P-384'));
  const made = await holdCeremony(plan(root, { issuing: holder(signerOf(kind), 'issuing') }));
  expect(checkProfile(chainsOf(made).join(''), { now, publicKey: signerOf(kind).publicKey })).toEqual([]);
});

test('the timestamp authority may have a root of its own', async () => {
  const [own, timestamping] = [await p256(), await p256()];
  const made = await holdCeremony(
    plan(await p256(), { timestamping: holder(timestamping, 'tsa'), timestampRoot: holder(own, 'tsa root', 3650) }),
  );
  const [, tsaChain = ''] = chainsOf(made);
  expect(tsaChain).toBe(`${made.timestamping}${made.timestampRoot}`);
  expect(checkProfile(tsaChain, { now, publicKey: timestamping.publicKey })).toEqual([]);
});

test('an issuing CA ends with its root', async () => {
  const made = await holdCeremony(plan(await p256(), { issuing: holder(await p256(), 'issuing', 36_500) }));
  const [root, issuing] = [made.root, made.issuing ?? ''].map((pem) =>
    parseCertificate(decodePem(pem, ['CERTIFICATE']).der),
  );
  expect(issuing?.notAfter).toEqual(root?.notAfter);
});

test('a plan that breaks the profile is refused, with what is wrong', async () => {
  const one = await p256();
  const sameKey = plan(one, { issuing: holder(one, 'issuing') });
  await expect(holdCeremony(sameKey)).rejects.toThrow(/nothing was written: certificate 2 of 2 .* the same key/);
  const sameName = plan(one, { issuing: holder(await p256(), 'root') });
  await expect(holdCeremony(sameName)).rejects.toThrow(/nothing was written/);
});

(hasOpenssl ? test : test.skip).each(newKeyKinds)(
  'openssl verifies the chains of a %s root, strictly',
  async (kind) => {
    const made = await holdCeremony(
      plan(signerOf(kind), { issuing: holder(await p256(), 'issuing'), timestamping: holder(await p256(), 'tsa') }),
    );
    const files = { root: made.root, issuing: made.issuing ?? '', tsa: made.timestamping ?? '' };
    for (const [name, pem] of Object.entries(files)) writeFileSync(join(folder, name), pem);
    const verify = (file: string, purpose: string): string => {
      const args = ['verify', '-x509_strict', '-attime', String(now / 1000 + 1), '-purpose', purpose];
      return execFileSync('openssl', [...args, '-CAfile', join(folder, 'root'), join(folder, file)], {
        encoding: 'utf8',
      });
    };
    expect(verify('issuing', 'any')).toContain('OK');
    expect(verify('tsa', 'timestampsign')).toContain('OK');
  },
);

test.each([
  ['p256', 'P-256'],
  ['P-384', 'P-384'],
  ['rsa4096', 'RSA-4096'],
  ['ED25519', 'Ed25519'],
  ['rsa-1024', undefined],
  ['', undefined],
])('the kind of key "%s" is %s', (text, kind) => {
  expect(newKeyKindOf(text)).toBe(kind);
});

describe('an encrypted key', () => {
  const passphrase = 'größer als 12 Zeichen';
  test.each<NewKeyKind>(['P-384', 'RSA-4096', 'Ed25519'])(
    'of the kind %s opens with its passphrase only',
    async (kind) => {
      const key = await generateKey(kind);
      const pem = await encryptedPem(key, passphrase, randomBytes);
      expect(openFileSigner(pem, passphrase).publicKey.equals(createPublicKey(key))).toBe(true);
      expect(() => openFileSigner(pem, 'another')).toThrow(/the password is wrong/);
      expect(() => openFileSigner(pem)).toThrow(/encrypted and no password/);
    },
  );

  (hasOpenssl ? test : test.skip)('is read by openssl, which counts 600,000 rounds', async () => {
    const key = await generateKey('P-256');
    const input = await encryptedPem(key, passphrase, randomBytes);
    const env = { ...process.env, PASS: passphrase };
    const plain = execFileSync('openssl', ['pkcs8', '-passin', 'env:PASS'], { input, env, stdio: 'pipe' });
    expect(createPublicKey(createPrivateKey(plain)).equals(createPublicKey(key))).toBe(true);
    // 0927C0 is 600,000.
    expect(execFileSync('openssl', ['asn1parse'], { input, encoding: 'utf8' })).toMatch(/INTEGER +:0927C0/);
  });
});

describe('the files of a ceremony', () => {
  const files: readonly CeremonyFile[] = [
    { path: 'offline/root.key.pem', content: 'key', isPrivate: true },
    { path: 'offline/root.pem', content: 'root', isPrivate: false },
    { path: 'keys/ca/chain.pem', content: 'chain', isPrivate: true },
  ];
  let count = 0;
  const fresh = (): string => join(folder, `place-${++count}`);
  const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
  const nothing = (): Promise<void> => Promise.resolve();

  test.each([false, true])('make a directory that only their owner reads (there before: %s)', async (isThere) => {
    const place = fresh();
    if (isThere) mkdirSync(place);
    await writeDirectory(place, files, 'x', nothing);
    for (const name of ['', 'offline', 'keys', 'keys/ca']) expect(mode(join(place, name))).toBe('700');
    expect(mode(join(place, 'offline/root.key.pem'))).toBe('600');
    expect(mode(join(place, 'offline/root.pem'))).toBe('644');
    expect(readFileSync(join(place, 'keys/ca/chain.pem'), 'utf8')).toBe('chain');
    expect(readdirSync(folder).filter((name) => name.includes('.new-'))).toEqual([]);
  });

  test('never go into a directory that holds anything', async () => {
    const place = fresh();
    mkdirSync(place);
    writeFileSync(join(place, 'hello'), '');
    await expect(writeDirectory(place, files, 'x', nothing)).rejects.toThrow(
      /is not empty \(hello\); nothing is ever overwritten/,
    );
    expect(readdirSync(place)).toEqual(['hello']);
  });

  test('have no name of their own before all of them are there', async () => {
    const place = fresh();
    await writeDirectory(place, files, 'x', async (staged) => {
      expect(existsSync(place)).toBe(false);
      expect(existsSync(join(staged, 'keys/ca/chain.pem'))).toBe(true);
      expect(await leftovers(place)).toEqual([staged]);
    });
    expect(await leftovers(place)).toEqual([]);
  });

  test('are gone when one cannot be written', async () => {
    const place = fresh();
    const failing = () => Promise.reject(new TypeError('no space left'));
    await expect(writeDirectory(place, files, 'x', failing)).rejects.toThrow(/cannot write .*: no space left/);
    expect(existsSync(place)).toBe(false);
    expect(await leftovers(place)).toEqual([]);
  });

  test('go to single paths, all or none, and replace nothing', async () => {
    const place = fresh();
    const at = (name: string): string => join(place, name);
    const key = { path: at('deep/a.key'), content: 'key', isPrivate: true };
    const chain = { path: at('b.pem'), content: 'chain', isPrivate: false };
    await writeFiles([key, chain], 'x');
    expect([mode(key.path), mode(chain.path)]).toEqual(['600', '644']);
    await expect(writeFiles([{ ...key, path: at('c.key') }, chain], 'x')).rejects.toThrow(/b\.pem exists/);
    await expect(writeFiles([key, key], 'x')).rejects.toThrow(/named twice/);
    // A parent that is no directory passes the check.
    const late = { ...chain, path: join(chain.path, 'below') };
    await expect(writeFiles([{ ...key, path: at('c.key') }, late], 'x')).rejects.toThrow(/cannot write/);
    expect(readdirSync(place).sort()).toEqual(['b.pem', 'deep']);
    expect(readdirSync(join(place, 'deep'))).toEqual(['a.key']);
  });

  test('go to a USB stick too, whose file system has no links, and replace nothing there', async () => {
    const place = fresh();
    const request = { path: join(place, 'issuing.csr.pem'), content: 'request', isPrivate: false };
    const noLinks = () => Promise.reject(Object.assign(new Error('operation not permitted'), { code: 'EPERM' }));
    await writeFiles([request], 'x', noLinks);
    expect(readFileSync(request.path, 'utf8')).toBe('request');
    const appearsMeanwhile = async () => {
      writeFileSync(join(place, 'other.pem'), 'of somebody else');
      await noLinks();
    };
    const other = { ...request, path: join(place, 'other.pem') };
    await expect(writeFiles([other], 'x', appearsMeanwhile)).rejects.toThrow(/it exists; nothing is ever overwritten/);
    expect(readFileSync(other.path, 'utf8')).toBe('of somebody else');
    expect(readdirSync(place).sort()).toEqual(['issuing.csr.pem', 'other.pem']);
  });
});
