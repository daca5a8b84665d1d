import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { loadChain } from '../../src/ca/chain.js';
import { openFileSigner } from '../../src/ca/file-signer.js';
import { checkProfile } from '../../src/ca/profile-check.js';
import { type CsrOptions, csrCommand, csrDefaults } from '../../src/cli/ca-csr.js';
import { initCommand, initDefaults } from '../../src/cli/ca-init.js';
import { type SignOptions, signCommand } from '../../src/cli/ca-sign.js';
import { parseCertificate } from '../../src/x509/certificate.js';
import { describeName } from '../../src/x509/name.js';
import { decodePem, decodePemAll } from '../../src/x509/pem.js';
import { certify, type Draft, nameOf, newKey } from '../ca/ceremony-drafts.js';
import { type CaLab, type CaLabOptions, openCaLab, passphrase } from './ca-lab.js';

const env = { MAYFLY_ROOT_PASSPHRASE: passphrase, MAYFLY_PASSPHRASE: passphrase };

/** The offline machine: one root for all tests. */
const vault = openCaLab({ env });
await initCommand({ ...initDefaults, dataDir: vault.at('root'), rootOnly: true, rootName: 'Offline root' }, vault.io);
const rootFile = vault.at('root/offline/root.pem');
const rootKeyFile = vault.at('root/offline/root.key.pem');

const labs: CaLab[] = [];
afterEach(() => {
  for (const lab of labs.splice(0)) lab.close();
});
afterAll(() => vault.close());
const open = (options: CaLabOptions = {}): CaLab => {
  const lab = openCaLab({ env, ...options });
  labs.push(lab);
  return lab;
};
const read = (path: string): string => readFileSync(path, 'utf8');

/** A request for a new key, which is not encrypted. */
async function request(lab: CaLab, options: Partial<CsrOptions> = {}): Promise<void> {
  const io = { ...lab.io, env: {} };
  await csrCommand({ ...csrDefaults, keyOut: lab.at('key.pem'), out: lab.at('csr.pem'), ...options }, io);
}

function sign(lab: CaLab, options: Partial<SignOptions> = {}): Promise<0 | 1> {
  const from = { csr: lab.at('csr.pem'), ca: rootFile, caKey: rootKeyFile, out: lab.at('chain.pem') };
  return signCommand({ ...from, for: 'issuing', pathLength: '0', yes: true, ...options }, lab.io);
}

test.each(['P-256', 'P-384', 'RSA-3072', 'Ed25519'])(
  'a %s request becomes a chain that the server starts with',
  async (keyType) => {
    const lab = open();
    await request(lab, { keyType, organization: 'Example' });
    expect((statSync(lab.at('key.pem')).mode & 0o777).toString(8)).toBe('600');
    expect(await sign(lab)).toBe(0);
    const ca = loadChain(read(lab.at('chain.pem')), openFileSigner(read(lab.at('key.pem'))), Date.now());
    expect(ca.chain).toHaveLength(2);
    expect(ca.chainPem[1]).toBe(read(rootFile));
    expect(checkProfile(read(lab.at('chain.pem')), { now: Date.now() })).toEqual([]);
  },
);

test('a timestamp authority is signed the same way', async () => {
  const lab = open();
  await request(lab, { for: 'timestamping' });
  expect(await sign(lab, { for: 'timestamping' })).toBe(0);
  expect(checkProfile(read(lab.at('chain.pem')), { now: Date.now(), purpose: 'timeStamping' })).toEqual([]);
});

test('what will be signed is shown, and signed only after a yes', async () => {
  for (const [answer, code] of [
    ['n', 1],
    ['', 1],
    ['y', 0],
    ['Yes', 0],
  ] as const) {
    const lab = open({ answers: [answer] });
    await request(lab, { name: 'Working CA', organization: 'Example' });
    expect(await sign(lab, { yes: false })).toBe(code);
    expect(existsSync(lab.at('chain.pem'))).toBe(code === 0);
    expect(lab.out()).toMatch(/subject +CN=Working CA, O=Example\n/);
    expect(lab.out()).toMatch(/asks for +extended key usage: codeSigning/);
    expect(lab.out()).toMatch(/profile +issuing CA: CA:TRUE, pathlen 0/);
    expect(lab.asked).toEqual([expect.stringMatching(/^plain: .*shall it be signed\? \[y\/N\]/)]);
  }
});

test('without a terminal and without --yes nothing is signed', async () => {
  const lab = open();
  await request(lab);
  await expect(sign(lab, { yes: false })).rejects.toThrow(/give --yes to sign what is shown above/);
});

test('both ends read out the same SHA-256 of the key', async () => {
  const lab = open();
  await request(lab);
  const [, fingerprint = ''] = /key +EC P-256, SHA-256 ([0-9a-f]{64})/.exec(lab.out()) ?? [];
  await sign(lab);
  expect(lab.out().split(fingerprint)).toHaveLength(4);
});

test('the lifetime is cut to the parent unless it was asked for, and then refused', async () => {
  const lab = open();
  await request(lab);
  await expect(sign(lab, { lifetime: '11y' })).rejects.toThrow(
    /4015 days ends at .*, after certificate 1 of 1 \(CN=Offline root/,
  );
  const inNineYears = { ...lab.io, now: () => new Date(Date.now() + 9 * 365 * 24 * 3600 * 1000) };
  const from = { csr: lab.at('csr.pem'), ca: rootFile, caKey: rootKeyFile, out: lab.at('chain.pem') };
  await signCommand({ ...from, for: 'issuing', pathLength: '0', yes: true }, inNineYears);
  const [leaf, root] = decodePemAll(read(lab.at('chain.pem')), 'CERTIFICATE').map(parseCertificate);
  expect(leaf?.notAfter).toEqual(root?.notAfter);
});

test('a request that was changed on its way is refused', async () => {
  const lab = open();
  await request(lab);
  const { der } = decodePem(read(lab.at('csr.pem')), ['CERTIFICATE REQUEST']);
  const at = Buffer.from(der).indexOf('mayfly issuing');
  const changed = Buffer.from(der);
  changed[at] = 0x4d;
  const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${changed.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  writeFileSync(lab.at('csr.pem'), pem);
  await expect(sign(lab)).rejects.toThrow(/csr\.pem: the signature of the request does not verify/);
});

test('the key of somebody else signs nothing', async () => {
  const lab = open();
  await request(lab);
  await expect(sign(lab, { caKey: lab.at('key.pem') })).rejects.toThrow(
    /the key of the parent is not that of .*Offline root/,
  );
  expect(existsSync(lab.at('chain.pem'))).toBe(false);
});

test('a request for a timestamp authority does not become an issuing CA, nor the other way round', async () => {
  const lab = open();
  await request(lab, { for: 'timestamping' });
  await expect(sign(lab)).rejects.toThrow(
    /asks for the extended key usage timeStamping; for that, give --for timestamping/,
  );
  await request(lab, { keyOut: lab.at('key2.pem'), out: lab.at('csr2.pem') });
  await expect(sign(lab, { csr: lab.at('csr2.pem'), for: 'timestamping' })).rejects.toThrow(/give --for issuing/);
});

test("a request for the parent's own key or name is refused", async () => {
  const lab = open();
  await csrCommand({ ...csrDefaults, key: rootKeyFile, out: lab.at('csr.pem') }, lab.io);
  await expect(sign(lab)).rejects.toThrow(/is for the key of certificate 1 of 1 \(CN=Offline root/);
  await request(lab, { name: 'Offline root', keyOut: lab.at('k.pem'), out: lab.at('csr2.pem') });
  await expect(sign(lab, { csr: lab.at('csr2.pem') })).rejects.toThrow(/asks for the name of certificate 1 of 1/);
});

describe('path lengths', () => {
  const key = newKey();
  const root: Draft = { subject: nameOf('root'), issuer: nameOf('root'), key, signedBy: key };
  const withParent = async (draft: Partial<Draft>): Promise<readonly [CaLab, Partial<SignOptions>]> => {
    const lab = open();
    await request(lab);
    const soon = { notBefore: '2020-01-01', notAfter: '2090-01-01' };
    writeFileSync(lab.at('parent.pem'), certify({ ...root, ...soon, ...draft }));
    writeFileSync(lab.at('parent.key'), key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    return [lab, { ca: lab.at('parent.pem'), caKey: lab.at('parent.key') }];
  };

  test('a parent that allows no CA below it is refused', async () => {
    const [lab, parent] = await withParent({ basicConstraints: { pathLength: 0 } });
    await expect(sign(lab, parent)).rejects.toThrow(
      /allows 0 CA certificates below it \(pathlen\), and with this one there could be 1/,
    );
  });

  test('a parent that allows one is refused when the new one could have another below it', async () => {
    const [lab, parent] = await withParent({ basicConstraints: { pathLength: 1 } });
    await expect(sign(lab, { ...parent, pathLength: '1' })).rejects.toThrow(/there could be 2/);
    expect(await sign(lab, parent)).toBe(0);
  });

  test.each<[string, Partial<Draft>, RegExp]>([
    ['no CA', { basicConstraints: { ca: false } }, /nothing was written: .*is not a CA certificate/],
    ['for servers only', { purposes: { oids: ['1.3.6.1.5.5.7.3.1'] } }, /nothing below it is valid for codeSigning/],
    ['expired', { notAfter: '2021-01-01' }, /has expired at 2021/],
    ['not valid yet', { notBefore: '2080-01-01' }, /is not valid before 2080/],
  ])('a parent that is %s is refused', async (_title, draft, message) => {
    const [lab, parent] = await withParent(draft);
    await expect(sign(lab, parent)).rejects.toThrow(message);
    expect(existsSync(lab.at('chain.pem'))).toBe(false);
  });
});

test.each<[Partial<SignOptions>, RegExp]>([
  [{ csr: '/nonexistent' }, /--csr: cannot read \/nonexistent/],
  [{ caKey: undefined }, /say where the parent's key is/],
  [{ caHsmKeyLabel: 'x' }, /is named twice/],
  [{ pathLength: '-1' }, /--path-length is "-1"; expected 0 to 9/],
  [{ lifetime: 'forever' }, /--lifetime is "forever"/],
  [{ ca: rootKeyFile }, /the parent has no certificate/],
])('%j is refused', async (options, message) => {
  const lab = open();
  await request(lab);
  await expect(sign(lab, options)).rejects.toThrow(message);
});

test('neither a request nor a chain is overwritten', async () => {
  const lab = open();
  await request(lab);
  await expect(request(lab)).rejects.toThrow(/key\.pem exists; nothing is ever overwritten/);
  await expect(request(lab, { keyOut: lab.at('other.pem') })).rejects.toThrow(/csr\.pem exists/);
  await sign(lab);
  await expect(sign(lab)).rejects.toThrow(/chain\.pem exists/);
  expect(readdirSync(lab.at()).sort()).toEqual(['chain.pem', 'csr.pem', 'key.pem']);
});

test.each<[Partial<CsrOptions>, RegExp]>([
  [{ keyOut: undefined }, /say which key it is for/],
  [{ key: rootKeyFile }, /say which key it is for/],
  [{ keyType: 'dsa' }, /--key-type is "dsa"/],
  [{ keyType: 'Ed25519', for: 'timestamping' }, /--key-type is "Ed25519"; expected P-256/],
])('a request %j is refused', async (options, message) => {
  const lab = open();
  const all = { ...csrDefaults, keyOut: lab.at('key.pem'), out: lab.at('csr.pem'), ...options };
  await expect(csrCommand(all, lab.io)).rejects.toThrow(message);
  expect(readdirSync(lab.at())).toEqual([]);
});

test('a passphrase encrypts the new key of a request', async () => {
  const lab = open();
  await csrCommand({ ...csrDefaults, keyOut: lab.at('key.pem'), out: lab.at('csr.pem') }, lab.io);
  expect(() => openFileSigner(read(lab.at('key.pem')), passphrase)).not.toThrow();
  expect(() => openFileSigner(read(lab.at('key.pem')))).toThrow(/encrypted/);
});

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
(hasOpenssl ? test : test.skip)("openssl's own request is signed, with the profile of Mayfly", async () => {
  const lab = open();
  const args = ['req', '-new', '-newkey', 'rsa:3072', '-nodes', '-subj', '/C=DE/O=Example/CN=From openssl'];
  spawnSync('openssl', [...args, '-keyout', lab.at('key.pem'), '-out', lab.at('csr.pem')]);
  expect(await sign(lab)).toBe(0);
  const chain = read(lab.at('chain.pem'));
  expect(checkProfile(chain, { now: Date.now() })).toEqual([]);
  expect(describeName(parseCertificate(decodePem(chain, ['CERTIFICATE']).der).subject)).toBe(
    'CN=From openssl, O=Example, C=DE',
  );
});
