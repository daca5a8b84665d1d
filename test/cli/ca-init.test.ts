import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { loadChain } from '../../src/ca/chain.js';
import { openDataDirectory } from '../../src/ca/data-directory.js';
import { openFileSigner } from '../../src/ca/file-signer.js';
import { readAuthorities } from '../../src/ca/life-cycle-file.js';
import { checkProfile } from '../../src/ca/profile-check.js';
import { type InitOptions, initCommand, initDefaults } from '../../src/cli/ca-init.js';
import { loadTsaChain } from '../../src/tsa/chain.js';
import { openTsaKeys } from '../../src/tsa/first-start.js';
import { type CaLab, type CaLabOptions, oneLine, openCaLab, passphrase } from './ca-lab.js';

const labs: CaLab[] = [];
afterEach(() => {
  for (const lab of labs.splice(0)) lab.close();
});
const open = (options: CaLabOptions = {}): CaLab => {
  const lab = openCaLab(options);
  labs.push(lab);
  return lab;
};
const init = (lab: CaLab, options: Partial<InitOptions> = {}): Promise<void> =>
  initCommand({ ...initDefaults, dataDir: lab.at('data'), ...options }, lab.io);
const read = (path: string): string => readFileSync(path, 'utf8');
const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
const clock = (): number => Date.now();

test('makes a data directory that the server takes as it is', async () => {
  const lab = open();
  await init(lab, { organization: 'Example' });
  const data = await openDataDirectory(lab.at('data'), { clock });
  const ca = await data.openCa();
  expect(ca.chainPem.join('')).toBe(read(lab.at('data/keys/ca/chain.pem')));
  expect(checkProfile(ca.chainPem.join(''), { now: clock(), publicKey: ca.signer.publicKey })).toEqual([]);
  expect((await readAuthorities(lab.at('data')))?.cas.map(({ state }) => state)).toEqual(['active']);
  expect(ca.signer.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
});

test('keeps every private file from others', async () => {
  const lab = open();
  await init(lab, { tsa: true });
  for (const name of ['', 'keys', 'keys/ca', 'keys/tsa', 'offline']) expect(mode(lab.at('data', name))).toBe('700');
  for (const name of ['keys/ca/key.pem', 'keys/tsa/key.pem', 'offline/root.key.pem']) {
    expect(mode(lab.at('data', name))).toBe('600');
  }
});

test('encrypts the root key with the passphrase, which appears nowhere', async () => {
  const lab = open();
  await init(lab);
  const key = read(lab.at('data/offline/root.key.pem'));
  const root = read(lab.at('data/offline/root.pem'));
  expect(loadChain(root, openFileSigner(key, passphrase), clock()).chain).toHaveLength(1);
  expect(readdirSync(lab.at('data/offline')).sort()).toEqual(['README.txt', 'root.key.pem', 'root.pem']);
  expect(lab.out() + lab.err()).not.toContain(passphrase);
});

test('prints fingerprints, places and the next command', async () => {
  const lab = open();
  await init(lab, { organization: 'Example', tsa: true });
  expect(lab.out()).toMatch(/subject {6}CN=Example root [0-9a-f]{8}, O=Example\n/);
  expect(lab.out().match(/certificate {2}SHA-256 [0-9a-f]{64}/g)).toHaveLength(3);
  expect(lab.out().match(/key {10}EC P-\d+, SHA-256 [0-9a-f]{64}/g)).toHaveLength(3);
  expect(lab.out()).toMatch(/keys\/ca\/key\.pem +issuing key, plain/);
  expect(oneLine(lab.out())).toContain(`mayfly serve --data-dir ${lab.at('data')} --tsa --config-path`);
});

test('quotes paths in the commands it prints', async () => {
  const lab = open();
  await init(lab, { dataDir: lab.at("it's here") });
  expect(lab.out()).toMatch(/mayfly serve --data-dir '\S+\/it'\\''s here' /);
});

test.each([
  ['under the same root', { tsa: true }, ['README.txt', 'root.key.pem', 'root.pem']],
  [
    'under a root of its own',
    { tsaOwnRoot: true },
    ['README.txt', 'root.key.pem', 'root.pem', 'tsa-root.key.pem', 'tsa-root.pem'],
  ],
])('makes a timestamp authority %s', async (_title, options, offline) => {
  const lab = open();
  await init(lab, options);
  expect(readdirSync(lab.at('data/offline')).sort()).toEqual(offline);
  const chain = read(lab.at('data/keys/tsa/chain.pem'));
  expect(chain.endsWith(read(lab.at('data/offline', offline.at(-1) ?? '')))).toBe(true);
  await openDataDirectory(lab.at('data'), { clock });
  const keys = await openTsaKeys(lab.at('data'), { organization: 'x', now: clock(), random: () => new Uint8Array() });
  expect(keys.chainPem).toBe(chain);
  expect(loadTsaChain(chain, openFileSigner(keys.keyPem), clock()).certificates).toHaveLength(2);
});

test('takes names, kinds of key and lifetimes', async () => {
  const lab = open();
  const names = { organization: 'Ünïcode & Co', rootName: 'The Root', issuingName: 'The Issuer' };
  await init(lab, {
    ...names,
    rootKeyType: 'ed25519',
    issuingKeyType: 'p384',
    rootLifetime: '2y',
    issuingLifetime: '90d',
  });
  expect(lab.out()).toContain('CN=The Root, O=Ünïcode & Co');
  expect(lab.out()).toMatch(/CN=The Issuer.*\nvalid +(\S+) to (\S+)/);
  const [, from = '', to = ''] = /CN=The Issuer.*\nvalid +(\S+) to (\S+)/.exec(lab.out()) ?? [];
  expect(Date.parse(to) - Date.parse(from)).toBe(90 * 24 * 3600 * 1000);
  expect(lab.out()).toMatch(/key +Ed25519[\s\S]*key +EC P-384/);
});

describe('a passphrase', () => {
  test('is asked for twice, in silence', async () => {
    const lab = open({ env: {}, answers: [passphrase, passphrase] });
    await init(lab);
    expect(lab.asked).toEqual(['secret: New passphrase of the root key: ', 'secret: The same again: ']);
    openFileSigner(read(lab.at('data/offline/root.key.pem')), passphrase);
  });

  test('is asked for again when the two differ or it is empty', async () => {
    const lab = open({ env: {}, answers: [passphrase, 'other', '', passphrase, passphrase] });
    await init(lab);
    expect(lab.err()).toBe('The two differ. Once more:\nIt is empty. Once more:\n');
    openFileSigner(read(lab.at('data/offline/root.key.pem')), passphrase);
  });

  test('that is never given the same twice makes nothing', async () => {
    const lab = open({ env: {}, answers: ['a', 'b', 'c', 'd', 'e', 'f'] });
    await expect(init(lab)).rejects.toThrow(/no passphrase for the root key after 3 attempts/);
    expect(existsSync(lab.at('data'))).toBe(false);
  });

  test('comes from a file, which wins over the environment', async () => {
    const lab = open({ env: { MAYFLY_ROOT_PASSPHRASE: 'not this one' } });
    writeFileSync(lab.at('pass'), `${passphrase}\n`, { mode: 0o600 });
    await init(lab, { rootPassphraseFile: lab.at('pass') });
    openFileSigner(read(lab.at('data/offline/root.key.pem')), passphrase);
  });

  test('in a file that others can read is refused', async () => {
    const lab = open();
    writeFileSync(lab.at('pass'), passphrase, { mode: 0o644 });
    await expect(init(lab, { rootPassphraseFile: lab.at('pass') })).rejects.toThrow(/mode 0644/);
  });

  test.each([
    ['nowhere', /cannot read the passphrase file .*nowhere: it is missing/],
    ['.', /cannot read the passphrase file .*: it is a directory/],
  ])('in %s is refused', async (name, message) => {
    const lab = open();
    await expect(init(lab, { rootPassphraseFile: lab.at(name) })).rejects.toThrow(message);
    expect(existsSync(lab.at('data'))).toBe(false);
  });

  test.each([
    [{}, /the root key needs a passphrase .* give --root-passphrase-file FILE or set MAYFLY_ROOT_PASSPHRASE/],
    [{ MAYFLY_ROOT_PASSPHRASE: '' }, /MAYFLY_ROOT_PASSPHRASE is empty/],
    [{ MAYFLY_ROOT_PASSPHRASE: 'a\nb' }, /has several lines/],
  ])('that is not there or no passphrase is refused (%j)', async (env: Record<string, string>, message) => {
    const lab = open({ env });
    await expect(init(lab)).rejects.toThrow(message);
    expect(existsSync(lab.at('data'))).toBe(false);
  });

  test('that is short gets a warning', async () => {
    const lab = open({ env: { MAYFLY_ROOT_PASSPHRASE: 'short' } });
    await init(lab);
    expect(lab.err()).toMatch(/^Warning: the passphrase of the root key has 5 characters/);
  });

  test('of the issuing key puts it where serve --ca fileca finds it', async () => {
    const lab = open({
      env: { MAYFLY_ROOT_PASSPHRASE: passphrase, MAYFLY_ISSUING_PASSPHRASE: 'the working passphrase' },
    });
    await init(lab);
    const signer = openFileSigner(read(lab.at('data/ca/key.pem')), 'the working passphrase');
    expect(loadChain(read(lab.at('data/ca/chain.pem')), signer, clock()).chain).toHaveLength(2);
    expect(existsSync(lab.at('data/keys'))).toBe(false);
    expect(oneLine(lab.out())).toMatch(
      /FULCIO_SERVE_FILECA_KEY_PASSWD set:\n.*--ca fileca --fileca-cert \S+ca\/chain\.pem --fileca-key/,
    );
  });
});

describe('nothing is overwritten:', () => {
  test('a directory that holds anything is refused before a passphrase is asked for', async () => {
    const lab = open({ env: {}, answers: [] });
    mkdirSync(lab.at('data'));
    writeFileSync(lab.at('data/ctlog'), '');
    await expect(init(lab)).rejects.toThrow(/is not empty \(ctlog\); nothing is ever overwritten/);
    expect(lab.asked).toEqual([]);
  });

  test('a second ceremony changes no byte of the first', async () => {
    const lab = open();
    await init(lab);
    const before = read(lab.at('data/keys/ca/key.pem'));
    await expect(init(lab)).rejects.toThrow(/nothing is ever overwritten/);
    expect(read(lab.at('data/keys/ca/key.pem'))).toBe(before);
  });

  test('what a ceremony that was killed left behind is named', async () => {
    const lab = open();
    mkdirSync(lab.at('data.new-0123'));
    await init(lab);
    expect(lab.err()).toMatch(/data\.new-0123 was left by a ceremony that was cut short/);
  });
});

describe('single files', () => {
  const all = ['root-key-out', 'root-out', 'key-out', 'chain-out'];
  const pathsIn = (lab: CaLab, names: readonly string[]) =>
    Object.fromEntries(names.map((name) => [name, lab.at(name)]));

  test('go where the flags say, and serve is told so', async () => {
    const lab = open();
    await init(lab, { paths: pathsIn(lab, all) });
    expect(readdirSync(lab.at()).sort()).toEqual([...all].sort());
    expect(all.map((name) => mode(lab.at(name)))).toEqual(['600', '644', '600', '644']);
    const signer = openFileSigner(read(lab.at('key-out')));
    expect(loadChain(read(lab.at('chain-out')), signer, clock()).chain).toHaveLength(2);
    expect(oneLine(lab.out())).toContain(
      `--ca fileca --fileca-cert ${lab.at('chain-out')} --fileca-key ${lab.at('key-out')}`,
    );
  });

  test.each([
    ['a missing one', all.slice(1), {}, /--root-key-out is missing/],
    ['one too many', [...all, 'tsa-key-out'], {}, /--tsa-key-out: this ceremony makes only --root-key-out/],
    ['those of the timestamp authority', all, { tsa: true }, /--tsa-key-out, --tsa-chain-out is missing/],
  ])('are refused with %s', async (_title, names, options, message) => {
    const lab = open();
    await expect(init(lab, { ...options, paths: pathsIn(lab, names) })).rejects.toThrow(message);
    expect(readdirSync(lab.at())).toEqual([]);
  });
});

test('--root-only makes a root, which no server takes for a CA', async () => {
  const lab = open();
  await init(lab, { rootOnly: true });
  expect(readdirSync(lab.at('data'))).toEqual(['offline']);
  expect(lab.out()).toMatch(/mayfly ca csr[\s\S]*mayfly ca sign/);
});

test.each<[Partial<InitOptions>, RegExp]>([
  [{ rootOnly: true, tsa: true }, /--root-only makes nothing but a root, so --tsa has no place/],
  [
    { tsa: true, tsaKeyType: 'Ed25519' },
    /--tsa-key-type is "Ed25519"; expected P-256, P-384, P-521, RSA-3072, RSA-4096$/,
  ],
  [{ rootKeyType: 'rsa-1024' }, /--root-key-type is "rsa-1024"; expected P-256, P-384/],
  [{ issuingLifetime: '5' }, /--issuing-lifetime is "5"; expected days, weeks or years such as 90d/],
  [{ rootLifetime: '0d' }, /--root-lifetime is "0d"/],
  [{ rootLifetime: '200y' }, /up to 100y/],
  [{ organization: '' }, /--organization has 0 characters/],
  [{ organization: 'x'.repeat(65) }, /--organization has 65 characters/],
  [{ rootName: 'a\nb' }, /--root-name .* without control characters/],
  [{ rootName: 'one', issuingName: 'one' }, /nothing was written/],
  [{ hsmKeyLabel: 'key' }, /needs --pkcs11-config-path/],
  [{ kmsResource: 'ftp://x' }, /--kms-resource/],
])('%j is refused and nothing is made', async (options, message) => {
  const lab = open();
  await expect(init(lab, options)).rejects.toThrow(message);
  expect(readdirSync(lab.at())).toEqual([]);
});
