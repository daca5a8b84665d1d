import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { isObject } from './claims.js';
import { describe } from './quote.js';
import { fitsAlgorithm, isSignatureAlgorithm, type SignatureAlgorithm } from './signature.js';

/** One key of an issuer, ready to verify with. */
export interface IssuerKey {
  readonly keyId: string | undefined;
  /** The JWK's `alg`: then the key is for this algorithm only. */
  readonly algorithm: SignatureAlgorithm | undefined;
  readonly key: KeyObject;
}

export interface KeySet {
  readonly keys: readonly IssuerKey[];
  /** Keys that were left out, each with its reason. */
  readonly skipped: readonly string[];
}

const maxKeys = 100;
const minRsaBits = 2048;
const maxRsaBits = 8192;

/**
 * Reads a JSON Web Key Set (RFC 7517 Section 5). Keys that are not for verifying tokens (encryption, shared secrets,
 * private keys, unknown types, weak RSA) are skipped, as the RFC asks. Throws Error when the text is no key set, has
 * more than 100 keys or none that can be used.
 */
export function parseJwks(text: string): KeySet {
  const document: unknown = parseJson(text);
  const list = isObject(document) ? document.keys : undefined;
  if (!Array.isArray(list)) throw new Error('it is not a JSON Web Key Set; expected an object with the array "keys"');
  if (list.length > maxKeys) throw new Error(`it has ${list.length} keys; expected at most ${maxKeys}`);
  const keys: IssuerKey[] = [];
  const skipped: string[] = [];
  for (const [i, jwk] of list.entries()) {
    const key = importKey(jwk);
    if (typeof key === 'string') skipped.push(`key ${i + 1}: ${key}`);
    else keys.push(key);
  }
  if (keys.length === 0) {
    throw new Error(`it has no key that can verify a token${skipped.length === 0 ? '' : ` (${skipped[0]})`}`);
  }
  return { keys, skipped };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('it is not valid JSON');
  }
}

/** The key, or why it is left out. */
function importKey(jwk: unknown): IssuerKey | string {
  if (!isObject(jwk)) return `is ${describe(jwk)}; expected an object`;
  const reason = unusable(jwk);
  if (reason !== undefined) return reason;
  let key: KeyObject;
  try {
    key = createPublicKey({ key: publicMembers(jwk), format: 'jwk' });
  } catch {
    return `its ${describe(jwk.kty)} parameters are not a public key`;
  }
  const weak = weakness(key);
  if (weak !== undefined) return weak;
  const { alg, kid } = jwk;
  const algorithm = isSignatureAlgorithm(alg) ? alg : undefined;
  if (algorithm !== undefined && !fitsAlgorithm(key, algorithm)) return `its "alg" ${algorithm} is not for such a key`;
  return { keyId: typeof kid === 'string' && kid !== '' ? kid : undefined, algorithm, key };
}

function unusable(jwk: Readonly<Record<string, unknown>>): string | undefined {
  const { kty, use, alg, key_ops: operations } = jwk;
  if (kty !== 'RSA' && kty !== 'EC' && kty !== 'OKP') return `its "kty" is ${describe(kty)}`;
  if (use !== undefined && use !== 'sig') return `its "use" is ${describe(use)}`;
  if (Array.isArray(operations) && !operations.includes('verify')) return 'its "key_ops" have no "verify"';
  if (alg !== undefined && !isSignatureAlgorithm(alg)) return `its "alg" is ${describe(alg)}`;
  if (jwk.d !== undefined) return 'it is a private key, which an issuer must never publish';
  return undefined;
}

const members = ['kty', 'n', 'e', 'crv', 'x', 'y'] as const;

function publicMembers(jwk: Readonly<Record<string, unknown>>): JsonWebKey {
  return Object.fromEntries(members.flatMap((name) => (typeof jwk[name] === 'string' ? [[name, jwk[name]]] : [])));
}

/** NIST SP 800-131A: 2048 bits at least; beyond 8192 a signature costs more than an issuer may ask. */
function weakness(key: KeyObject): string | undefined {
  if (key.asymmetricKeyType !== 'rsa') return undefined;
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (modulusLength < minRsaBits || modulusLength > maxRsaBits) {
    return `its RSA modulus has ${modulusLength} bits; expected ${minRsaBits} to ${maxRsaBits}`;
  }
  const good = publicExponent > 2n && publicExponent < 1n << 33n && publicExponent % 2n === 1n;
  return good ? undefined : 'its RSA exponent is even, one, or longer than 33 bits';
}
