import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { encodeBitString, encodeElement, encodeOid, encodeSequence } from '../../src/x509/der.js';
import { encodeName } from '../../src/x509/name.js';
import { encodePem } from '../../src/x509/pem.js';

export interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** One pair a kind; RSA ones are made once, since they take long. */
export const pairs = {
  p256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  p521: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  rsa2048: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ed25519: generateKeyPairSync('ed25519'),
} satisfies Record<string, Pair>;

export const spkiOf = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });
export const pemOf = (key: KeyObject): string => String(key.export({ type: 'spki', format: 'pem' }));

/** DER of an unsigned big integer. */
export function derInteger(value: bigint): Uint8Array {
  const digits = value.toString(16);
  const even = digits.length % 2 === 0 ? digits : `0${digits}`;
  return encodeElement(0x02, Buffer.from(/^[89a-f]/.test(even) ? `00${even}` : even, 'hex'));
}

/** PEM SubjectPublicKeyInfo of an RSA key that nobody generated. */
export function rsaPem(modulus: bigint, exponent = 65537n): string {
  const key = encodeSequence(derInteger(modulus), derInteger(exponent));
  const algorithm = encodeSequence(encodeOid('1.2.840.113549.1.1.1'), encodeElement(0x05));
  return encodePem('PUBLIC KEY', encodeSequence(algorithm, encodeBitString(key)));
}

/** `bits` deterministic pseudo-random bits from a label. */
export function bitsFrom(label: string, bits: number): bigint {
  let text = '';
  for (let i = 0; text.length * 4 < bits; i++) text += createHash('sha256').update(`${label}${i}`).digest('hex');
  return BigInt.asUintN(bits, BigInt(`0x${text}`));
}

interface CsrOptions {
  readonly hash: string | null;
  readonly algorithm: string;
  readonly label?: string;
  readonly padding?: number;
}

/** A PEM certification request with a name and an (empty) set of attributes. */
export function csrOf(pair: Pair, options: CsrOptions): string {
  const info = encodeSequence(
    encodeElement(0x02, Uint8Array.of(0)),
    encodeName({ organization: 'ignored', commonName: 'ignored' }),
    spkiOf(pair.publicKey),
    encodeElement(0xa0),
  );
  const { hash, algorithm, label = 'CERTIFICATE REQUEST', padding } = options;
  const signature = sign(hash, info, padding === undefined ? pair.privateKey : { key: pair.privateKey, padding });
  return encodePem(label, encodeSequence(info, encodeSequence(encodeOid(algorithm)), encodeBitString(signature)));
}
