import { createPublicKey, KeyObject, webcrypto } from 'node:crypto';
import { AppError } from '../errors.js';
import {
  children,
  contentOf,
  DerError,
  encodeBitString,
  encodeElement,
  encodeOid,
  encodeSequence,
  expectTag,
  readDer,
  readOid,
  readUnsigned,
  tag,
} from '../x509/der.js';
import { encodePem } from '../x509/pem.js';
import { parseSpki, type SubjectPublicKeyInfo } from '../x509/spki.js';
import { type KeyAlgorithm, type KeyAlgorithmName, keyAlgorithmNames, keyAlgorithms } from './key-algorithms.js';
import { rsaWeakness } from './weak-rsa.js';

/** A public key that has passed every check but the proof of possession. */
export interface ImportedKey {
  readonly algorithm: KeyAlgorithmName;
  readonly key: KeyObject;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
}

const rsaOid = '1.2.840.113549.1.1.1';
const ecOid = '1.2.840.10045.2.1';
const ed25519Oid = '1.3.101.112';

interface Refusal {
  /** KEY_WEAK and KEY_UNSUPPORTED differ in the sentence that Fulcio answers with. */
  readonly code: 'KEY_WEAK' | 'KEY_UNSUPPORTED';
  readonly title: string;
}

/** Kinds of key worth naming in the refusal. */
const refusedAlgorithms: Readonly<Record<string, Refusal>> = {
  '1.2.840.113549.1.1.10': { code: 'KEY_UNSUPPORTED', title: 'an RSA-PSS key (id-RSASSA-PSS)' },
  '1.2.840.10040.4.1': { code: 'KEY_WEAK', title: 'a DSA key' },
  '1.2.840.10046.2.1': { code: 'KEY_WEAK', title: 'a Diffie-Hellman key' },
  '1.3.101.110': { code: 'KEY_WEAK', title: 'an X25519 key, which cannot sign' },
  '1.3.101.111': { code: 'KEY_UNSUPPORTED', title: 'an X448 key, which cannot sign' },
  '1.3.101.113': { code: 'KEY_UNSUPPORTED', title: 'an Ed448 key' },
};

const refusedCurves: Readonly<Record<string, string>> = {
  '1.3.132.0.33': 'P-224',
  '1.3.132.0.10': 'secp256k1',
  '1.2.840.10045.3.1.1': 'P-192',
};

const supported = `expected ${keyAlgorithmNames.map((name) => keyAlgorithms[name].title).join(', ')}`;

/**
 * Imports a DER SubjectPublicKeyInfo and refuses every key that the profile does not allow: unknown kinds, points off
 * their curve, weak RSA moduli. Throws AppError KEY_MALFORMED, KEY_UNSUPPORTED or KEY_WEAK.
 */
export async function importSpki(spki: Uint8Array): Promise<ImportedKey> {
  const info = parsed(() => parseSpki(spki));
  if (info.algorithm === ecOid) return importEc(info, spki);
  if (info.algorithm === rsaOid) {
    // The key goes into the certificate as it came, so what a NULL holds would too.
    if (info.parameters?.tag !== tag.null || contentOf(info.parameters).length > 0) {
      throw new AppError(
        'KEY_MALFORMED',
        'the parameters of the RSA key are not an empty NULL (RFC 8017 Appendix A.1)',
      );
    }
    return importRsa(info.key, spki);
  }
  if (info.algorithm === ed25519Oid) return importEd25519(info, spki);
  const refusal = refusedAlgorithms[info.algorithm];
  const found = refusal?.title ?? `a key of the algorithm ${info.algorithm}`;
  throw new AppError(refusal?.code ?? 'KEY_UNSUPPORTED', `found ${found}; ${supported}`);
}

/** Imports a DER RSAPublicKey (PKCS#1, RFC 8017 Appendix A.1.1), as `importSpki` does. */
export async function importPkcs1(rsaPublicKey: Uint8Array): Promise<ImportedKey> {
  const algorithm = encodeSequence(encodeOid(rsaOid), encodeElement(tag.null));
  return importRsa(rsaPublicKey, encodeSequence(algorithm, encodeBitString(rsaPublicKey)));
}

/**
 * OpenSSL 3.0's decoders (Node 20) make createPublicKey from SPKI slow, 100 µs for P-256: the raw point takes half of it on
 * every curve (a JWK takes 350 µs on P-384). Those of OpenSSL 3.5 (Node 24) are faster than the way over WebCrypto, and of
 * all ways to call them a bare PEM string is the fastest: 17 µs, an object with DER in it 38. All check that the point lies
 * on the curve.
 */
const hasFastDecoders = !/^3\.[0-3]\./.test(process.versions.openssl ?? '');

async function importEc(info: SubjectPublicKeyInfo, spki: Uint8Array): Promise<ImportedKey> {
  if (info.parameters?.tag !== tag.oid) {
    throw new AppError('KEY_UNSUPPORTED', 'found an EC key that does not name its curve; expected a named curve');
  }
  const curveOid = parsed(() => readOid(info.parameters, "the key's curve"));
  const algorithm = keyAlgorithmNames.find((name) => curveOidOf(keyAlgorithms[name]) === curveOid);
  const row: KeyAlgorithm | undefined = algorithm === undefined ? undefined : keyAlgorithms[algorithm];
  if (algorithm === undefined || row?.type !== 'ec') {
    throw new AppError('KEY_WEAK', `found an EC key on the curve ${refusedCurves[curveOid] ?? curveOid}; ${supported}`);
  }
  if (info.key[0] !== 0x04 || info.key.length !== 1 + 2 * row.size) {
    throw new AppError(
      'KEY_MALFORMED',
      `the ${row.title} point is ${info.key.length} bytes; expected ${1 + 2 * row.size}, an uncompressed point`,
    );
  }
  try {
    return { algorithm, key: await importPoint(info.key, row.curve, spki), spki };
  } catch (cause) {
    throw new AppError('KEY_MALFORMED', `the key is not a point on the curve ${row.curve}`, { cause });
  }
}

async function importPoint(point: Uint8Array, namedCurve: string, spki: Uint8Array): Promise<KeyObject> {
  if (hasFastDecoders) return createPublicKey(encodePem('PUBLIC KEY', spki));
  const parameters = { name: 'ECDSA', namedCurve };
  return KeyObject.from(await webcrypto.subtle.importKey('raw', point, parameters, true, ['verify']));
}

function curveOidOf(algorithm: KeyAlgorithm): string | undefined {
  return algorithm.type === 'ec' ? algorithm.curveOid : undefined;
}

function importRsa(rsaPublicKey: Uint8Array, spki: Uint8Array): ImportedKey {
  const [modulus, exponent] = parsed(() => readRsa(rsaPublicKey));
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  const algorithm = keyAlgorithmNames.find((name) => bitsOf(keyAlgorithms[name]) === bits);
  if (algorithm === undefined) {
    throw new AppError('KEY_WEAK', `the RSA key has ${bits} bits; expected 2048, 3072 or 4096`);
  }
  if (Buffer.compare(exponent, Uint8Array.of(1, 0, 1)) !== 0) {
    const found = exponent.length > 8 ? `a number of ${exponent.length} bytes` : BigInt(`0x${toHex(exponent)}`);
    throw new AppError('KEY_WEAK', `the RSA key's public exponent is ${found}; expected 65537`);
  }
  const weakness = rsaWeakness(BigInt(`0x${toHex(modulus)}`));
  if (weakness !== undefined) throw new AppError('KEY_WEAK', `the RSA key is weak: ${weakness}; make a new key`);
  const jwk = { kty: 'RSA', n: toBase64Url(modulus), e: 'AQAB' };
  return { algorithm, key: createPublicKey({ key: jwk, format: 'jwk' }), spki };
}

function readRsa(der: Uint8Array): readonly [Uint8Array, Uint8Array] {
  const [modulus, exponent, extra] = children(expectTag(readDer(der), tag.sequence, 'the RSA key'));
  if (extra !== undefined) throw new DerError('the RSA key has a third part', extra.start);
  return [readUnsigned(modulus, 'the modulus'), readUnsigned(exponent, 'the public exponent')];
}

function bitsOf(algorithm: KeyAlgorithm): number | undefined {
  return algorithm.type === 'rsa' ? algorithm.bits : undefined;
}

/**
 * Encodings of Ed25519 points of order 1, 2, 4 and 8, sign bit cleared, non-canonical forms included. Anybody can make
 * signatures that verify under such a "key", so possession of it proves nothing.
 */
const smallOrderPoints: ReadonlySet<string> = new Set([
  `00${'00'.repeat(31)}`,
  `01${'00'.repeat(31)}`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  `ec${'ff'.repeat(30)}7f`,
  `ed${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}7f`,
]);

function importEd25519(info: SubjectPublicKeyInfo, spki: Uint8Array): ImportedKey {
  if (info.parameters !== undefined || info.key.length !== 32) {
    throw new AppError('KEY_MALFORMED', `the Ed25519 key is ${info.key.length} bytes; expected 32 and no parameters`);
  }
  const withoutSign = Buffer.from(info.key);
  withoutSign[31] = (withoutSign[31] ?? 0) & 0x7f;
  if (smallOrderPoints.has(withoutSign.toString('hex'))) {
    throw new AppError('KEY_WEAK', 'the Ed25519 key is a point of small order, under which anybody can sign');
  }
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(info.key) };
  return { algorithm: 'ed25519', key: createPublicKey({ key: jwk, format: 'jwk' }), spki };
}

function parsed<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof DerError)) throw cause;
    throw new AppError('KEY_MALFORMED', `${cause.message}; expected a DER SubjectPublicKeyInfo (RFC 5280)`, { cause });
  }
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

function toBase64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
}
