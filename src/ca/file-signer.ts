import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { AppError, messageOf } from '../errors.js';
import { pemLabel } from '../x509/pem.js';
import { isCode } from './private-file.js';
import { keyKinds, kindOf, signatureAlgorithmOf } from './signature-algorithm.js';
import type { Signer } from './signer.js';

/**
 * Kinds whose signature takes 25 µs, of which libuv's pool would give back half and cost the other cores more; the others
 * take 0.5 ms and more.
 */
const fastKinds = new Set(['EC P-256', 'Ed25519']);

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
  const algorithm = signatureAlgorithmOf(privateKey);
  if (algorithm === undefined) {
    throw new AppError('STARTUP', `the CA key is of the kind ${kindOf(privateKey)}; expected ${keyKinds.join(', ')}`);
  }
  return {
    publicKey: createPublicKey(privateKey),
    signatureAlgorithm: algorithm.identifier,
    privateKey,
    sign: fastKinds.has(kindOf(privateKey))
      ? async (data) => sign(algorithm.hash, data, privateKey)
      : (data) => signOnPool(algorithm.hash, data, privateKey),
    close: () => Promise.resolve(),
  };
}

/** On libuv's threads: a P-384 signature would hold the event loop for 500 µs (Node 20). */
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
