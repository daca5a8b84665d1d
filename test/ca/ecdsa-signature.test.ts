import { createPublicKey, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import { ecdsaDerFromRaw } from '../../src/ca/ecdsa-signature.js';
import { newKey } from './remote-key-fake.js';

test.each([
  ['P-256', 'sha256'],
  ['P-384', 'sha384'],
  ['P-521', 'sha512'],
] as const)('a raw %s signature becomes the DER that OpenSSL verifies', (curve, hash) => {
  const key = newKey(curve);
  for (let i = 0; i < 50; i++) {
    const data = Buffer.from(`text ${i}`);
    const raw = sign(hash, data, { key, dsaEncoding: 'ieee-p1363' });
    expect(verify(hash, data, createPublicKey(key), ecdsaDerFromRaw(raw))).toBe(true);
  }
});

test.each([
  ['00010001', '3006020101020101'],
  ['00800080', '30080202008002020080'],
  ['007f00ff', '300702017f020200ff'],
  ['00000000', '3006020100020100'],
])('%s becomes %s: shortest form, never negative', (raw, der) => {
  expect(Buffer.from(ecdsaDerFromRaw(Buffer.from(raw, 'hex'))).toString('hex')).toBe(der);
});

test.each([0, 1, 63, 65])('%i bytes are refused', (length) => {
  expect(() => ecdsaDerFromRaw(new Uint8Array(length))).toThrow(`an ECDSA signature of ${length} bytes`);
});

test('both numbers come back whatever they are', () => {
  const half = fc.uint8Array({ minLength: 32, maxLength: 32 });
  fc.assert(
    fc.property(half, half, (r, s) => {
      const der = Buffer.from(ecdsaDerFromRaw(Buffer.concat([r, s])));
      const lengthR = der[3] ?? 0;
      const readR = der.subarray(4, 4 + lengthR).toString('hex');
      const readS = der.subarray(6 + lengthR).toString('hex');
      expect(BigInt(`0x${readR}`)).toBe(BigInt(`0x${Buffer.from(r).toString('hex')}`));
      expect(BigInt(`0x${readS}`)).toBe(BigInt(`0x${Buffer.from(s).toString('hex')}`));
    }),
  );
});
