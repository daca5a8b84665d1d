import { constants, generateKeyPairSync, type KeyObject, privateEncrypt, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import { type KeyAttributes, publicKeyOf, signatureOf, signInput } from '../../src/ca/pkcs11-attributes.js';
import { signatureAlgorithmOf } from '../../src/ca/signature-algorithm.js';
import { encodeElement, encodeOid, tag } from '../../src/x509/der.js';

const oids = { 'P-256': '1.2.840.10045.3.1.7', 'P-384': '1.3.132.0.34', 'P-521': '1.3.132.0.35' };
const wrap = (point: Uint8Array) => encodeElement(tag.octetString, point);

function jwkBytes(key: KeyObject, ...names: ('x' | 'y' | 'n' | 'e')[]): Buffer {
  const jwk = key.export({ format: 'jwk' });
  return Buffer.concat(names.map((name) => Buffer.from(jwk[name] ?? '', 'base64url')));
}

function ecPoint(key: KeyObject): Buffer {
  return Buffer.concat([Buffer.of(4), jwkBytes(key, 'x', 'y')]);
}

function algorithmOf(key: KeyObject) {
  const algorithm = signatureAlgorithmOf(key);
  if (algorithm === undefined) throw new Error('no algorithm');
  return algorithm;
}

describe.each(['P-256', 'P-384', 'P-521'] as const)('a %s key', (curve) => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const params = encodeOid(oids[curve]);

  test.each([
    ['wrapped in an octet string, as the standard has it', wrap(ecPoint(publicKey))],
    ['bare, as some tokens have it', ecPoint(publicKey)],
  ])('is read with its point %s', (_, point) => {
    expect(publicKeyOf({ type: 'ec', params, point }).equals(publicKey)).toBe(true);
  });

  test('signs digests, and its raw signature becomes one for certificates', () => {
    const algorithm = algorithmOf(publicKey);
    const data = Buffer.from('a certificate to be');
    expect(signInput(algorithm, data)).toMatchObject({ mechanism: 0x1041 });
    const raw = sign(algorithm.hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    expect(verify(algorithm.hash, data, publicKey, signatureOf(algorithm, raw))).toBe(true);
  });
});

test('an RSA key is read, whatever zeros the token puts before its numbers, and signs a DigestInfo', () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const modulus = Buffer.concat([Buffer.of(0, 0), jwkBytes(publicKey, 'n')]);
  expect(publicKeyOf({ type: 'rsa', modulus, publicExponent: Buffer.of(1, 0, 1) }).equals(publicKey)).toBe(true);

  const algorithm = algorithmOf(publicKey);
  const data = Buffer.from('a certificate to be');
  const { mechanism, input } = signInput(algorithm, data);
  expect(mechanism).toBe(1);
  const raw = privateEncrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, input);
  expect(verify('sha256', data, publicKey, signatureOf(algorithm, raw))).toBe(true);
});

test('an Ed25519 key is read and signs the data itself', () => {
  const { publicKey } = generateKeyPairSync('ed25519');
  const point = jwkBytes(publicKey, 'x');
  for (const value of [point, wrap(point)]) {
    expect(publicKeyOf({ type: 'eddsa', point: value }).equals(publicKey)).toBe(true);
  }
  const data = Buffer.from('a certificate to be');
  expect(signInput(algorithmOf(publicKey), data)).toEqual({ mechanism: 0x1057, input: data });
});

test.each<[string, KeyAttributes, string]>([
  [
    'another curve',
    { type: 'ec', params: encodeOid('1.3.132.0.10'), point: new Uint8Array(65) },
    'its curve is none of P-256, P-384 and P-521',
  ],
  [
    'a point of another length',
    { type: 'ec', params: encodeOid(oids['P-256']), point: new Uint8Array(64) },
    'its CKA_EC_POINT has 64 bytes; expected a point of 65',
  ],
  ['an Ed448 point', { type: 'eddsa', point: wrap(new Uint8Array(57)) }, 'has 59 bytes; expected a point of 32'],
])('%s is refused by name', (_, attributes, message) => {
  expect(() => publicKeyOf(attributes)).toThrow(message);
});

test('attributes of any bytes give a key or an error, and never hang', () => {
  const bytes = fc.uint8Array({ maxLength: 140 });
  const attributes = fc.oneof(
    fc.record({ type: fc.constant('ec' as const), params: fc.constant(encodeOid(oids['P-256'])), point: bytes }),
    fc.record({ type: fc.constant('rsa' as const), modulus: bytes, publicExponent: bytes }),
    fc.record({ type: fc.constant('eddsa' as const), point: bytes }),
  );
  fc.assert(
    fc.property(attributes, (key) => {
      try {
        expect(publicKeyOf(key).type).toBe('public');
      } catch (error) {
        expect(error).toHaveProperty('message');
      }
    }),
  );
});
