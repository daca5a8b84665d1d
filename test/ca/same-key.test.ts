import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { isSameKey } from '../../src/ca/same-key.js';

test('keys of two kinds are not the same, and comparing them leaves nothing behind that the next call would throw', () => {
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  expect(isSameKey(ec.publicKey, rsa.publicKey)).toBe(false);
  expect(() => createPrivateKey(ec.privateKey.export({ type: 'pkcs8', format: 'pem' }))).not.toThrow();
  expect(isSameKey(ec.publicKey, ec.publicKey)).toBe(true);
});
