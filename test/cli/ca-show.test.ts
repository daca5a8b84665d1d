import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { csrCommand, csrDefaults } from '../../src/cli/ca-csr.js';
import { initCommand, initDefaults } from '../../src/cli/ca-init.js';
import { showCommand } from '../../src/cli/ca-show.js';
import { type VerifyOptions, verifyCommand } from '../../src/cli/ca-verify.js';
import { encodePem } from '../../src/x509/pem.js';
import { certify, type Draft, nameOf, newKey } from '../ca/ceremony-drafts.js';
import { type CaLab, openCaLab, passphrase } from './ca-lab.js';

const env = { MAYFLY_ROOT_PASSPHRASE: passphrase, MAYFLY_PASSPHRASE: passphrase };

let lab: CaLab;
beforeEach(async () => {
  lab = openCaLab({ env });
  await initCommand({ ...initDefaults, dataDir: lab.at('data'), organization: 'Example', tsaOwnRoot: true }, lab.io);
});
afterEach(() => lab.close());

/** What a command prints, without what the ceremony printed. */
async function printed(run: () => Promise<unknown>): Promise<string> {
  const before = lab.out().length;
  await run();
  return lab.out().slice(before);
}
const show = (place: string, options = {}): Promise<string> => printed(() => showCommand(place, options, lab.io));
const verify = async (place: string, options: VerifyOptions = {}): Promise<readonly [number, string]> => {
  let code = -1;
  const text = await printed(async () => {
    code = await verifyCommand(place, options, lab.io);
  });
  return [code, text];
};
const read = (path: string): string => readFileSync(path, 'utf8');

describe('show', () => {
  test('lists every certificate of a data directory with its fingerprint as openssl has it', async () => {
    const text = await show(lab.at('data'));
    for (const path of ['keys/ca/chain.pem', 'keys/tsa/chain.pem', 'offline/root.pem', 'offline/tsa-root.pem']) {
      expect(text).toContain(path);
      const { fingerprint256 } = new X509Certificate(read(lab.at('data', path)));
      expect(text).toContain(`SHA-256 ${fingerprint256.replaceAll(':', '').toLowerCase()}`);
    }
    expect(text).toMatch(/basic constraints \(critical\): CA:TRUE, pathlen 0\n/);
    expect(text).toMatch(/extended key usage \(critical\): timeStamping\n/);
    expect(text).not.toContain('PRIVATE');
  });

  test('gives the same as JSON', async () => {
    const { chains } = JSON.parse(await show(lab.at('data/keys/ca/chain.pem'), { json: true }));
    expect(chains).toHaveLength(1);
    expect(chains[0].certificates).toHaveLength(2);
    expect(chains[0].certificates[0]).toMatchObject({
      subject: expect.stringMatching(/^CN=Example issuing CA [0-9a-f]{8}, O=Example$/),
      key: 'EC P-256',
      signatureAlgorithm: 'ECDSA with SHA-384',
      fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
      subjectKeyId: expect.stringMatching(/^[0-9a-f]{40}$/),
    });
  });

  test('finds what lies in offline/, wherever that was moved to', async () => {
    expect(await show(lab.at('data/offline'))).toMatch(/^root {2}\(/);
  });

  test('shows a request', async () => {
    await csrCommand({ ...csrDefaults, keyOut: lab.at('k.pem'), out: lab.at('csr.pem') }, lab.io);
    expect(await show(lab.at('csr.pem'))).toMatch(/asks for +extended key usage: codeSigning/);
  });

  test.each([
    ['a key', 'data/keys/ca/key.pem', /holds PEM with the label "PRIVATE KEY"; expected PEM certificates/],
    ['an empty directory', 'empty', /holds no certificates/],
    ['nothing', 'missing', /cannot read/],
  ])('%s is refused', async (_title, place, message) => {
    mkdirSync(lab.at('empty'));
    await expect(show(lab.at(place))).rejects.toThrow(message);
  });
});

describe('verify', () => {
  test('finds nothing wrong with a ceremony', async () => {
    const [code, text] = await verify(lab.at('data'));
    expect(code).toBe(0);
    expect(text).toMatch(/no errors, no warnings\n$/);
    expect(text.match(/^ {2}ok$/gm)).toHaveLength(4);
  });

  test('compares the keys beside the chains', async () => {
    writeFileSync(lab.at('data/keys/ca/key.pem'), read(lab.at('data/keys/tsa/key.pem')));
    const [code, text] = await verify(lab.at('data'));
    expect(code).toBe(1);
    expect(text).toMatch(/ERROR {4}the key belongs to no certificate of the chain/);
  });

  test('notices a key that others can read', async () => {
    chmodSync(lab.at('data/keys/tsa/key.pem'), 0o644);
    const [code, text] = await verify(lab.at('data'));
    expect([code, text]).toEqual([1, expect.stringMatching(/mode 0644, so that others can use it/)]);
  });

  test('opens an encrypted key with --key', async () => {
    const root = lab.at('data/offline/root.pem');
    expect(await verify(root, { key: lab.at('data/offline/root.key.pem') })).toEqual([0, expect.stringMatching(/ok/)]);
    const [code, text] = await verify(root, { key: lab.at('data/offline/tsa-root.key.pem') });
    expect([code, text]).toEqual([1, expect.stringMatching(/belongs to no certificate/)]);
  });

  test('lists everything as JSON, with rules for scripts', async () => {
    const key = newKey();
    const root: Draft = { subject: nameOf('root'), issuer: nameOf('root'), key, signedBy: key };
    writeFileSync(lab.at('bad.pem'), certify({ ...root, notAfter: '2026-02-01', keyUsage: null, subjectKeyId: null }));
    const [code, text] = await verify(lab.at('bad.pem'), { json: true });
    const { ok, chains } = JSON.parse(text);
    expect([code, ok]).toEqual([1, false]);
    const rules = chains[0].findings.map(({ rule }: { readonly rule: string }) => rule);
    expect(rules).toEqual(expect.arrayContaining(['validity', 'subject-key-id', 'key-usage']));
  });

  // 2048 bits are worth a warning, which must not stand in the place of the error.
  test.each([2048, 3072])('finds RSA keys of %i bits that can be broken', async (modulusLength) => {
    const key = generateKeyPairSync('rsa', { modulusLength, publicExponent: 3 }).privateKey;
    const root: Draft = { subject: nameOf('root'), issuer: nameOf('root'), key, signedBy: key };
    writeFileSync(lab.at('rsa.pem'), certify({ ...root, notAfter: '2090-01-01' }));
    const [code, text] = await verify(lab.at('rsa.pem'));
    expect([code, text]).toEqual([1, expect.stringMatching(/public exponent is 3; expected 65537/)]);
  });

  test.each<[string, string, Buffer, RegExp]>([
    [
      'DER',
      'chain.der',
      Buffer.from('308201f7a0', 'hex'),
      /no PEM block, perhaps DER; .* \(openssl x509 -inform DER\)/,
    ],
    [
      'PKCS#7',
      'chain.p7b',
      Buffer.from(encodePem('PKCS7', Buffer.of(0x30, 0))),
      /"PKCS7"; .*openssl pkcs7 -print_certs/,
    ],
    ['text', 'chain.txt', Buffer.from('hello'), /holds no PEM block; expected PEM certificates/],
  ])('says what to do with %s', async (_what, name, content, message) => {
    writeFileSync(lab.at(name), content);
    await expect(verify(lab.at(name))).rejects.toThrow(message);
  });

  test('takes --key for one chain only', async () => {
    await expect(verify(lab.at('data'), { key: lab.at('data/keys/ca/key.pem') })).rejects.toThrow(/holds 4/);
  });
});
