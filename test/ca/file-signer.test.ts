import { generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { openFileSigner } from '../../src/ca/file-signer.js';

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey;
const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength }).privateKey;
const pem = (key: KeyObject, type: 'pkcs8' | 'sec1' | 'pkcs1' = 'pkcs8') =>
  String(key.export({ type, format: 'pem' } as const));
const encrypted = (key: KeyObject, passphrase: string) =>
  String(key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase }));
const p256 = ec('P-256');
const rsa2048 = rsa(2048);

test.each<[string, string, string | null, string, string | undefined]>([
  ['P-256 as PKCS#8', pem(p256), 'sha256', '300a06082a8648ce3d040302', undefined],
  ['P-256 as SEC1', pem(p256, 'sec1'), 'sha256', '300a06082a8648ce3d040302', undefined],
  ['P-384, encrypted', encrypted(ec('P-384'), 'secret'), 'sha384', '300a06082a8648ce3d040303', 'secret'],
  ['P-521', pem(ec('P-521')), 'sha512', '300a06082a8648ce3d040304', undefined],
  ['RSA as PKCS#1', pem(rsa2048, 'pkcs1'), 'sha256', '300d06092a864886f70d01010b0500', undefined],
  ['Ed25519', pem(generateKeyPairSync('ed25519').privateKey), null, '300506032b6570', undefined],
])('openFileSigner signs with %s', async (_, key, hash, algorithm, passphrase) => {
  const signer = openFileSigner(key, passphrase);
  const data = Buffer.from('to be signed');
  const signature = await signer.sign(data);
  expect(verify(hash, data, signer.publicKey, signature)).toBe(true);
  expect(Buffer.from(signer.signatureAlgorithm).toString('hex')).toBe(algorithm);
});

test.each<[string, string, string | undefined, string]>([
  ['a wrong password', encrypted(p256, 'right'), 'wrong', 'the password is wrong'],
  ['no password', encrypted(p256, 'right'), undefined, 'is encrypted and no password was given'],
  [
    'a public key',
    '-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n',
    undefined,
    'PEM with the label "PUBLIC KEY"',
  ],
  ['no PEM', 'garbage', undefined, 'found no PEM block'],
  ['a damaged key', pem(p256).replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA'), undefined, 'cannot be read as PKCS#8'],
  ['secp256k1', pem(ec('secp256k1')), undefined, 'the kind EC secp256k1; expected EC P-256'],
  ['P-224', pem(ec('secp224r1')), undefined, 'the kind EC secp224r1'],
  ['Ed448', pem(generateKeyPairSync('ed448').privateKey), undefined, 'the kind ed448'],
  ['RSA 1024', pem(rsa(1024)), undefined, 'the kind RSA 1024'],
  [
    "cosign's own format",
    '-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAA==\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n',
    'x',
    "cosign's own format",
  ],
])('openFileSigner refuses %s', (_, key, passphrase, message) => {
  const open = () => openFileSigner(key, passphrase);
  expect(open).toThrow(expect.objectContaining({ code: 'STARTUP', detail: expect.stringContaining(message) }));
});

test('a password given for a plain key does no harm', () => {
  expect(openFileSigner(pem(p256), 'unused').publicKey.asymmetricKeyType).toBe('ec');
});
