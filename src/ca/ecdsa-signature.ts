import { encodeElement, encodeSequence, tag } from '../x509/der.js';

/**
 * Turns an ECDSA signature from r||s, both of the same length, as PKCS#11 and Azure give it, into the DER
 * Ecdsa-Sig-Value of certificates (RFC 3279 Section 2.2.3). Throws RangeError when the length is odd or zero; whether
 * the signature is right is for the verification to find out.
 */
export function ecdsaDerFromRaw(raw: Uint8Array): Uint8Array {
  if (raw.length === 0 || raw.length % 2 !== 0) {
    throw new RangeError(`an ECDSA signature of ${raw.length} bytes; expected r and s of the same length`);
  }
  const half = raw.length / 2;
  return encodeSequence(encodePositive(raw.subarray(0, half)), encodePositive(raw.subarray(half)));
}

/** A DER INTEGER of unsigned big-endian bytes: no leading zeros but the one that keeps it from being negative. */
export function encodePositive(bytes: Uint8Array): Uint8Array {
  const firstUsed = bytes.findIndex((byte) => byte !== 0);
  const value = firstUsed === -1 ? bytes.subarray(-1) : bytes.subarray(firstUsed);
  const sign = (value[0] ?? 0) >= 0x80 ? new Uint8Array(1) : new Uint8Array(0);
  return encodeElement(tag.integer, sign, value);
}
