import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { AppError, messageOf } from '../errors.js';
import { encodeElement, encodeOid, encodeSequence, tag } from '../x509/der.js';
import { pemLabel } from '../x509/pem.js';
import { isCode } from './private-file.js';
import type { Signer } from './signer.js';

interface SigningAlgorithm {
  /** Ed25519 hashes by itself. */
  readonly hash: string | null;
  /** DER AlgorithmIdentifier. */
  readonly identifier: Uint8Array;
}

const rsaWithSha256: SigningAlgorithm = {
  hash: 'sha256',
  identifier: encodeSequence(encodeOid('1.2.840.113549.1.1.11'), encodeElement(tag.null)),
};

/** What each kind of CA key signs with (RFC 5758, RFC 8410), by `kindOf`. */
const algorithms: Readonly<Record<string, SigningAlgorithm>> = {
  'EC P-256': { hash: 'sha256', identifier: encodeSequence(encodeOid('1.2.840.10045.4.3.2')) },
  'EC P-384': { hash: 'sha384', identifier: encodeSequence(encodeOid('1.2.840.10045.4.3.3')) },
  'EC P-521': { hash: 'sha512', identifier: encodeSequence(encodeOid('1.2.840.10045.4.3.4')) },
  'RSA 2048': rsaWithSha256,
  'RSA 3072': rsaWithSha256,
  'RSA 4096': rsaWithSha256,
  Ed25519: { hash: null, identifier: encodeSequence(encodeOid('1.3.101.112')) },
};

const curveTitles: Readonly<Record<string, string>> = {
  prime256v1: 'P-256',
  secp384r1: 'P-384',
  secp521r1: 'P-521',
};

function kindOf(key: KeyObject): string {
  const { namedCurve = '', modulusLength } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec') return `EC ${curveTitles[namedCurve] ?? namedCurve}`;
  if (key.asymmetricKeyType === 'rsa') return `RSA ${modulusLength}`;
  return key.asymmetricKeyType === 'ed25519' ? 'Ed25519' : String(key.asymmetricKeyType);
}

/**
 * Opens a CA key from PEM: PKCS#8, plain or encrypted, SEC1 or PKCS#1, of the kinds EC P-256, P-384, P-521, RSA 2048,
 * 3072, 4096 and Ed25519. Throws AppError STARTUP saying what is wrong with the key or its password, never quoting
 * either.
 */
export function openFileSigner(pem: string | Uint8Array, passphrase?: string): Signer {
  return createKeySigner(readPrivateKey(pem, passphrase));
}

/** A signer around a private key in memory; throws AppError STARTUP for a kind of key that no CA here may have. */
export function createKeySigner(privateKey: KeyObject): Signer {
  const algorithm = algorithms[kindOf(privateKey)];
  if (algorithm === undefined) {
    const expected = Object.keys(algorithms).join(', ');
    throw new AppError('STARTUP', `the CA key is of the kind ${kindOf(privateKey)}; expected ${expected}`);
  }
  return {
    publicKey: createPublicKey(privateKey),
    signatureAlgorithm: algorithm.identifier,
    sign: (data) => signOnPool(algorithm.hash, data, privateKey),
    close: () => Promise.resolve(),
  };
}

/**
 * On libuv's threads: a P-256 signature then costs the event loop 8 µs instead of 23, and a P-384 one does not hold it
 * for 700 µs (measured on Node 20, two cores).
 */
function signOnPool(hash: string | null, data: Uint8Array, key: KeyObject): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    sign(hash, data, key, (error, signature) => {
      if (error === null) resolve(signature);
      else reject(new AppError('SIGNER_UNAVAILABLE', 'the CA key cannot sign now', { cause: error }));
    });
  });
}

function readPrivateKey(pem: string | Uint8Array, passphrase: string | undefined): KeyObject {
  const text = typeof pem === 'string' ? pem : Buffer.from(pem).toString('latin1');
  const label = pemLabel(text);
  if (!text.includes('PRIVATE KEY-----')) {
    const found = label === undefined ? 'no PEM block' : `PEM with the label "${label}"`;
    throw new AppError('STARTUP', `found ${found} where the CA key belongs; expected a PEM private key`);
  }
  if (/-----BEGIN ENCRYPTED (SIGSTORE|COSIGN) PRIVATE KEY-----/.test(text)) {
    throw new AppError('STARTUP', "the CA key is in cosign's own format; expected PKCS#8, as openssl pkcs8 writes it");
  }
  const isEncrypted = text.includes('ENCRYPTED');
  if (isEncrypted && (passphrase === undefined || passphrase === '')) {
    throw new AppError('STARTUP', 'the CA key is encrypted and no password was given');
  }
  try {
    return createPrivateKey(isEncrypted && passphrase !== undefined ? { key: text, passphrase } : text);
  } catch (cause) {
    throw new AppError('STARTUP', unreadable(isEncrypted, cause), { cause });
  }
}

function unreadable(isEncrypted: boolean, cause: unknown): string {
  if (!isEncrypted) return `the CA key cannot be read as PKCS#8, SEC1 or PKCS#1: ${messageOf(cause)}`;
  if (isCode(cause, 'ERR_OSSL_EVP_UNSUPPORTED')) {
    return 'the CA key is encrypted in an outdated way; encrypt it again with openssl pkcs8 -topk8 -v2 aes-256-cbc';
  }
  return 'the CA key cannot be decrypted: the password is wrong, or the file is damaged';
}
