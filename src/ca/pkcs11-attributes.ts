import { createPublicKey, type KeyObject } from 'node:crypto';
import {
  contentOf,
  DerError,
  encodeBitString,
  encodeElement,
  encodeOid,
  encodeSequence,
  readDer,
  tag,
} from '../x509/der.js';
import { ecdsaDerFromRaw, encodePositive } from './ecdsa-signature.js';
import { digestFor, type SignatureAlgorithm } from './signature-algorithm.js';

/** Attributes of a public key object, as the token has them (PKCS#11 v2.40 Sections 2.1.2 and 2.3.3, v3.0 for EdDSA). */
export type KeyAttributes =
  | { readonly type: 'rsa'; readonly modulus: Uint8Array; readonly publicExponent: Uint8Array }
  | { readonly type: 'ec'; readonly params: Uint8Array; readonly point: Uint8Array }
  | { readonly type: 'eddsa'; readonly point: Uint8Array };

const ecPublicKey = encodeOid('1.2.840.10045.2.1');
const rsaEncryption = encodeSequence(encodeOid('1.2.840.113549.1.1.1'), encodeElement(tag.null));
const ed25519 = encodeSequence(encodeOid('1.3.101.112'));
/** Bytes of an Ed25519 public key (RFC 8032). */
const ed25519Length = 32;

/** Curves by their DER OID, with the length of an uncompressed point. */
const curves = [
  { oid: encodeOid('1.2.840.10045.3.1.7'), pointLength: 65 },
  { oid: encodeOid('1.3.132.0.34'), pointLength: 97 },
  { oid: encodeOid('1.3.132.0.35'), pointLength: 133 },
];

/** The public key that the attributes describe; throws an Error saying what is wrong with them. */
export function publicKeyOf(key: KeyAttributes): KeyObject {
  return createPublicKey({ key: Buffer.from(spkiOf(key)), format: 'der', type: 'spki' });
}

function spkiOf(key: KeyAttributes): Uint8Array {
  if (key.type === 'rsa') {
    const numbers = encodeSequence(encodePositive(key.modulus), encodePositive(key.publicExponent));
    return encodeSequence(rsaEncryption, encodeBitString(numbers));
  }
  if (key.type === 'eddsa') {
    return encodeSequence(ed25519, encodeBitString(pointOf(key.point, ed25519Length)));
  }
  const curve = curves.find(({ oid }) => Buffer.compare(oid, key.params) === 0);
  if (curve === undefined) throw new Error('its curve is none of P-256, P-384 and P-521');
  const point = pointOf(key.point, curve.pointLength);
  return encodeSequence(encodeSequence(ecPublicKey, curve.oid), encodeBitString(point));
}

/** CKA_EC_POINT is a DER OCTET STRING around the point; some tokens give the bare point. */
function pointOf(value: Uint8Array, length: number): Uint8Array {
  const point = value.length === length ? value : unwrapped(value);
  if (point?.length !== length)
    throw new Error(`its CKA_EC_POINT has ${value.length} bytes; expected a point of ${length}`);
  return point;
}

function unwrapped(value: Uint8Array): Uint8Array | undefined {
  try {
    const node = readDer(value);
    return node.tag === tag.octetString ? contentOf(node) : undefined;
  } catch (error) {
    if (error instanceof DerError) return undefined;
    throw error;
  }
}

const ckmRsaPkcs = 0x0001;
const ckmEcdsa = 0x1041;
const ckmEddsa = 0x1057;
const sha256Identifier = encodeSequence(encodeOid('2.16.840.1.101.3.4.2.1'), encodeElement(tag.null));

/** What C_Sign is to be called with for a signature over `data`: a digest, an RSA DigestInfo (RFC 8017), or the data. */
export function signInput(
  algorithm: SignatureAlgorithm,
  data: Uint8Array,
): { readonly mechanism: number; readonly input: Uint8Array } {
  if (algorithm.hash === null) return { mechanism: ckmEddsa, input: data };
  const digest = digestFor(algorithm, data);
  if (!algorithm.kind.startsWith('RSA')) return { mechanism: ckmEcdsa, input: digest };
  return { mechanism: ckmRsaPkcs, input: encodeSequence(sha256Identifier, encodeElement(tag.octetString, digest)) };
}

/** A signature as it stands in a certificate, from one as C_Sign gives it. */
export function signatureOf(algorithm: SignatureAlgorithm, raw: Uint8Array): Uint8Array {
  return algorithm.kind.startsWith('EC') ? ecdsaDerFromRaw(raw) : raw;
}
