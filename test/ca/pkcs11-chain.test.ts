import { createPublicKey } from 'node:crypto';
import { chainFromToken } from '../../src/ca/pkcs11.js';
import { decodePemAll } from '../../src/x509/pem.js';
import { certify, newKey } from './chains.js';

const [rootKey, middleKey, issuingKey, otherKey] = [newKey(), newKey(), newKey(), newKey()];
const der = (pem: string) => Uint8Array.from(decodePemAll(pem, 'CERTIFICATE')[0] ?? []);
const root = der(certify({ name: 'root', issuer: 'root', key: rootKey, signedBy: rootKey }));
const middle = der(certify({ name: 'middle', issuer: 'root', key: middleKey, signedBy: rootKey }));
const issuing = der(certify({ name: 'issuing', issuer: 'middle', key: issuingKey, signedBy: middleKey }));
const stranger = der(certify({ name: 'stranger', issuer: 'stranger', key: otherKey, signedBy: otherKey }));
const publicKey = createPublicKey(issuingKey);
const id = Buffer.from('99');
const entry = (der: Uint8Array, id = '') => ({ id: Buffer.from(id), der });

test('a root with the id is the whole chain', () => {
  expect(chainFromToken([entry(stranger), entry(root, '99')], id, createPublicKey(rootKey))).toEqual([root]);
});

test('the issuers of an intermediate are found in the token, in whatever order it has them', () => {
  const all = [entry(root, '1'), entry(stranger), entry(issuing, '99'), entry(middle)];
  expect(chainFromToken(all, id, publicKey)).toEqual([issuing, middle, root]);
});

test('a chain of which the token lacks the end is given as far as it goes', () => {
  expect(chainFromToken([entry(issuing, '99'), entry(middle)], id, publicKey)).toEqual([issuing, middle]);
});

test('of several certificates with the id the one of the key is taken', () => {
  expect(chainFromToken([entry(stranger, '99'), entry(issuing, '99')], id, publicKey)).toEqual([issuing]);
});

test('two certificates that issue each other end the search', () => {
  const a = der(certify({ name: 'a', issuer: 'b', key: issuingKey, signedBy: middleKey }));
  const b = der(certify({ name: 'b', issuer: 'a', key: middleKey, signedBy: issuingKey }));
  expect(chainFromToken([entry(a, '99'), entry(b)], id, publicKey)).toEqual([a, b]);
});

test('certificates that nobody can read are passed over', () => {
  const noise = entry(Buffer.from('no certificate'));
  expect(chainFromToken([noise, entry(issuing, '99')], id, publicKey)).toEqual([issuing]);
  expect(() => chainFromToken([entry(noise.der, '99')], id, publicKey)).toThrow('cannot be read');
});

test.each([
  [[], 'it has no certificate at all'],
  [[entry(root, 'c')], 'it has certificates with the CKA_ID 63'],
  [[entry(root)], 'it has certificates with the CKA_ID empty'],
])('an id that the token lacks is shown as the token would show it', (certificates, found) => {
  expect(() => chainFromToken(certificates, id, publicKey)).toThrow(
    `the token has no certificate with the CKA_ID 3939 (the characters of the flag, in hexadecimal); ${found}`,
  );
});
