import { constants, createECDH, type KeyObject, privateEncrypt, randomBytes } from 'node:crypto';
import { encodeElement, encodeSequence, tag } from '../../src/x509/der.js';

/** What a KMS does and node:crypto does not: signs a digest as it is. */
export function signDigest(key: KeyObject, digest: Uint8Array): { der: Buffer; raw: Buffer } {
  if (key.asymmetricKeyType === 'rsa') {
    const signature = signRsa(key, digest);
    return { der: signature, raw: signature };
  }
  const curve = curves[key.asymmetricKeyDetails?.namedCurve ?? ''];
  if (curve === undefined) throw new Error('the fake KMS has no such curve');
  const [r, s] = signEcdsa(key, digest, curve);
  const bytes = (value: bigint) => Buffer.from(value.toString(16).padStart(curve.size * 2, '0'), 'hex');
  return {
    raw: Buffer.concat([bytes(r), bytes(s)]),
    der: Buffer.from(encodeSequence(encodeInteger(r), encodeInteger(s))),
  };
}

interface Curve {
  readonly name: string;
  readonly size: number;
  readonly order: bigint;
}

const curves: Readonly<Record<string, Curve>> = {
  prime256v1: {
    name: 'prime256v1',
    size: 32,
    order: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  },
  secp384r1: {
    name: 'secp384r1',
    size: 48,
    order: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
  },
};

/** FIPS 186-5 Section 6.4.1, with the point multiplication of OpenSSL's ECDH. */
function signEcdsa(key: KeyObject, digest: Uint8Array, { name, size, order }: Curve): [bigint, bigint] {
  const number = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
  const secret = number(Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url'));
  for (;;) {
    const nonce = randomBytes(size);
    const k = number(nonce);
    if (k === 0n || k >= order) continue;
    const ecdh = createECDH(name);
    ecdh.setPrivateKey(nonce);
    const r = number(ecdh.getPublicKey().subarray(1, 1 + size)) % order;
    const s = (power(k, order - 2n, order) * (number(digest) + r * secret)) % order;
    if (r !== 0n && s !== 0n) return [r, s];
  }
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let [square, rest] = [base % modulus, exponent]; rest > 0n; square = (square * square) % modulus, rest >>= 1n) {
    if (rest & 1n) result = (result * square) % modulus;
  }
  return result;
}

function encodeInteger(value: bigint): Uint8Array {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
  return encodeElement(tag.integer, (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
}

/** RFC 8017 Section 9.2: what is encrypted is the DigestInfo; only SHA-256 is asked for. */
function signRsa(key: KeyObject, digest: Uint8Array): Buffer {
  const digestInfo = Buffer.concat([Buffer.from('3031300d060960864801650304020105000420', 'hex'), digest]);
  return privateEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, digestInfo);
}
