import { createCipheriv, generateKeyPair, type KeyObject, pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import { encodeElement, encodeOid, encodeSequence, tag } from '../x509/der.js';
import { encodePem } from '../x509/pem.js';

const generate = promisify(generateKeyPair);

const ec = (namedCurve: string) => async (): Promise<KeyObject> => (await generate('ec', { namedCurve })).privateKey;
const rsa = (modulusLength: number) => async (): Promise<KeyObject> =>
  (await generate('rsa', { modulusLength, publicExponent: 65537 })).privateKey;

/** The kinds of key that a ceremony makes. */
const generators = {
  'P-256': ec('P-256'),
  'P-384': ec('P-384'),
  'P-521': ec('P-521'),
  'RSA-3072': rsa(3072),
  'RSA-4096': rsa(4096),
  Ed25519: async () => (await generate('ed25519', {})).privateKey,
} as const;

export type NewKeyKind = keyof typeof generators;

export const newKeyKinds = Object.keys(generators) as readonly NewKeyKind[];

/** The kind that a text names, in capitals or not, with a hyphen or not ("p256", "RSA-4096"); undefined for others. */
export function newKeyKindOf(text: string): NewKeyKind | undefined {
  const plain = (name: string): string => name.toLowerCase().replaceAll('-', '');
  return newKeyKinds.find((kind) => plain(kind) === plain(text));
}

/** A new private key, from OpenSSL's generator. */
export function generateKey(kind: NewKeyKind): Promise<KeyObject> {
  return generators[kind]();
}

/** PKCS#8 PEM without a passphrase. */
export function plainPem(key: KeyObject): string {
  return String(key.export({ type: 'pkcs8', format: 'pem' }));
}

/**
 * Rounds of PBKDF2 with HMAC-SHA-256: 0.2 s here for whoever knows the passphrase. `KeyObject.export` has no such
 * setting and takes 2,048, which are too few for a passphrase of a person's making.
 */
const iterations = 600_000;

const pbes2 = '1.2.840.113549.1.5.13';
const pbkdf2Oid = '1.2.840.113549.1.5.12';
const hmacWithSha256 = '1.2.840.113549.2.9';
const aes256Cbc = '2.16.840.1.101.3.4.1.42';

/**
 * The key as encrypted PKCS#8 (RFC 5958 Section 3), PEM: PBES2 with PBKDF2 and AES-256-CBC (RFC 8018), which OpenSSL, Go and
 * Java read. `random` gives unpredictable bytes.
 */
export async function encryptedPem(
  key: KeyObject,
  passphrase: string,
  random: (size: number) => Uint8Array,
): Promise<string> {
  const salt = random(16);
  const iv = random(16);
  const secret = await promisify(pbkdf2)(passphrase, salt, iterations, 32, 'sha256');
  const cipher = createCipheriv('aes-256-cbc', secret, iv);
  const encrypted = Buffer.concat([cipher.update(key.export({ type: 'pkcs8', format: 'der' })), cipher.final()]);
  const derivation = encodeSequence(
    encodeOid(pbkdf2Oid),
    encodeSequence(
      encodeElement(tag.octetString, salt),
      encodeElement(tag.integer, unsigned(iterations)),
      encodeSequence(encodeOid(hmacWithSha256), encodeElement(tag.null)),
    ),
  );
  const encryption = encodeSequence(encodeOid(aes256Cbc), encodeElement(tag.octetString, iv));
  const algorithm = encodeSequence(encodeOid(pbes2), encodeSequence(derivation, encryption));
  return encodePem('ENCRYPTED PRIVATE KEY', encodeSequence(algorithm, encodeElement(tag.octetString, encrypted)));
}

/** Content octets of a positive INTEGER below 2^31. */
function unsigned(value: number): Uint8Array {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt32BE(value, 1);
  const first = bytes.findIndex((byte) => byte !== 0);
  return bytes.subarray((bytes[first] ?? 0) >= 0x80 ? first - 1 : first);
}
