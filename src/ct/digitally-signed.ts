import { type KeyObject, sign, verify } from 'node:crypto';
import { TlsReader, TlsWriter } from './tls.js';

/** HashAlgorithm sha256 of RFC 5246 Section 7.4.1.4.1, the only one RFC 6962 Section 2.1.4 allows. */
const sha256 = 4;

/** SignatureAlgorithm of RFC 5246 Section 7.4.1.4.1 by Node's name of the key type. */
const signatureAlgorithms: Readonly<Record<string, number>> = { rsa: 1, ec: 3 };

function algorithmOf(key: KeyObject): number | undefined {
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return undefined;
  return signatureAlgorithms[key.asymmetricKeyType ?? ''];
}

/** Whether a log may have this key: RFC 6962 Section 2.1.4 knows ECDSA on P-256 and RSA of at least 2048 bits. */
export function isLogKey(key: KeyObject): boolean {
  const bits = key.asymmetricKeyDetails?.modulusLength;
  return algorithmOf(key) !== undefined && (bits === undefined || bits >= 2048);
}

function encode(algorithm: number, signature: Uint8Array): Uint8Array {
  return new TlsWriter(4 + signature.length).uint(sha256, 1).uint(algorithm, 1).vector(signature, 2).finish();
}

function requireAlgorithm(key: KeyObject): number {
  const algorithm = algorithmOf(key);
  if (algorithm === undefined) {
    throw new TypeError(`a log key must be ECDSA P-256 or RSA; this one is ${key.asymmetricKeyType ?? 'symmetric'}`);
  }
  return algorithm;
}

/** Signs `data` with SHA-256 as a DigitallySigned struct (RFC 5246 Section 4.7); `key` is a log's private key. */
export function signDigitally(data: Uint8Array, key: KeyObject): Uint8Array {
  return encode(requireAlgorithm(key), sign('sha256', data, key));
}

/** Whether `signed`, a DigitallySigned struct, is a signature of `data` by `key`; malformed input is simply false. */
export function verifyDigitally(data: Uint8Array, signed: Uint8Array, key: KeyObject): boolean {
  const parsed = parse(signed);
  return parsed !== undefined && parsed.algorithm === algorithmOf(key) && verify('sha256', data, key, parsed.signature);
}

function parse(signed: Uint8Array): { algorithm: number; signature: Uint8Array } | undefined {
  if (signed.length < 4 || signed[0] !== sha256) return undefined;
  const reader = new TlsReader(signed, 'DigitallySigned');
  reader.bytes(1, 'hash');
  const algorithm = reader.uint(1, 'signature algorithm');
  const length = reader.uint(2, 'signature');
  return length === reader.remaining ? { algorithm, signature: reader.bytes(length, 'signature') } : undefined;
}
