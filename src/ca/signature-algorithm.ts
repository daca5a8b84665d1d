import { hash, type KeyObject } from 'node:crypto';
import { encodeElement, encodeOid, encodeSequence, tag } from '../x509/der.js';

/** The kinds of key that a CA here may have. */
export const keyKinds = ['EC P-256', 'EC P-384', 'EC P-521', 'RSA 2048', 'RSA 3072', 'RSA 4096', 'Ed25519'] as const;

export type KeyKind = (typeof keyKinds)[number];

/** How keys of one kind sign certificates. */
export interface SignatureAlgorithm {
  readonly kind: KeyKind;
  /** Ed25519 hashes by itself. */
  readonly hash: 'sha256' | 'sha384' | 'sha512' | null;
  /** DER AlgorithmIdentifier (RFC 5758, RFC 4055, RFC 8410). */
  readonly identifier: Uint8Array;
}

type HashAndIdentifier = Omit<SignatureAlgorithm, 'kind'>;

const rsaWithSha256: HashAndIdentifier = {
  hash: 'sha256',
  identifier: encodeSequence(encodeOid('1.2.840.113549.1.1.11'), encodeElement(tag.null)),
};

const algorithms: Readonly<Record<KeyKind, HashAndIdentifier>> = {
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

/** The kind of a key in words, whether a CA may have it or not: "EC P-256", "RSA 1024", "dsa". */
export function kindOf(key: KeyObject): string {
  const { namedCurve = '', modulusLength } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec') return `EC ${curveTitles[namedCurve] ?? namedCurve}`;
  if (key.asymmetricKeyType === 'rsa') return `RSA ${modulusLength}`;
  return key.asymmetricKeyType === 'ed25519' ? 'Ed25519' : String(key.asymmetricKeyType);
}

/** How this key, public or private, signs certificates; undefined for a kind that no CA here may have. */
export function signatureAlgorithmOf(key: KeyObject): SignatureAlgorithm | undefined {
  const name = kindOf(key);
  const kind = keyKinds.find((item) => item === name);
  return kind === undefined ? undefined : { kind, ...algorithms[kind] };
}

/** What an API that signs digests is to sign for `data`; throws TypeError for Ed25519, which takes the data itself. */
export function digestFor(algorithm: SignatureAlgorithm, data: Uint8Array): Uint8Array {
  if (algorithm.hash === null) throw new TypeError(`${algorithm.kind} signs data, not a digest`);
  return hash(algorithm.hash, data, 'buffer');
}
