import fc from 'fast-check';
import { AppError } from '../../src/errors.js';
import { corresponds } from '../../src/x509/precert.js';
import {
  encodeCertificate,
  encodeTbs,
  type LeafFields,
  poisonExtension,
  sctListExtension,
} from '../../src/x509/tbs.js';
import { sampleLeaf } from './golden.js';

const sctList = sctListExtension(Buffer.alloc(122, 9));
const signed = (leaf: LeafFields, last?: Uint8Array) =>
  encodeCertificate(encodeTbs(leaf, last), leaf.signatureAlgorithm, Buffer.alloc(70, 1));
const precertificate = signed(sampleLeaf, poisonExtension);
const certificate = signed(sampleLeaf, sctList);

test('corresponds accepts the two forms of one certificate', () => {
  expect(() => corresponds(precertificate, certificate)).not.toThrow();
});

test.each<[string, Partial<LeafFields>]>([
  ['serial number', { serial: Buffer.alloc(20, 2) }],
  ['signature algorithm', { signatureAlgorithm: Buffer.from('300a06082a8648ce3d040303', 'hex') }],
  ['issuer', { issuerName: Buffer.from('300e310c300a06035504030c03726f75', 'hex') }],
  ['validity', { notBefore: new Date('2026-05-01T10:00:01Z') }],
  ['validity', { notAfter: new Date('2026-05-01T10:10:01Z') }],
  [
    'public key',
    { spki: Buffer.from(`302a300506032b6570032100${'5b'.repeat(32)}`, 'hex'), subjectKeyId: Buffer.alloc(20) },
  ],
  ['extension 5', { san: { kind: 'email', value: 'jane@example.com' } }],
  ['extension 4', { authorityKeyId: Buffer.alloc(20, 8) }],
  ['extension 9', { extensions: { ...sampleLeaf.extensions, tokenSubject: 'other' } }],
  ['number of extensions', { extensions: { issuer: 'https://token.actions.example' } }],
])('corresponds names the %s when it was changed', (part, change) => {
  expect(() => corresponds(precertificate, signed({ ...sampleLeaf, ...change }, sctList))).toThrow(
    expect.objectContaining({ code: 'INTERNAL', detail: expect.stringContaining(part) }),
  );
});

test.each<[string, Uint8Array, Uint8Array]>([
  ['a precertificate without poison', signed(sampleLeaf), certificate],
  ['a certificate without SCT list', precertificate, signed(sampleLeaf)],
  ['a certificate with poison', precertificate, precertificate],
  ['two SCT lists', precertificate, signed(sampleLeaf, Buffer.concat([sctList, sctList]))],
  ['poison and SCT list', precertificate, signed(sampleLeaf, Buffer.concat([poisonExtension, sctList]))],
])('corresponds refuses %s', (_, pre, final) => {
  expect(() => corresponds(pre, final)).toThrow(AppError);
});

test('corresponds refuses any change of a byte outside SCT list and signature', () => {
  const tbsEnd = certificate.length - (2 + 71) - 12;
  fc.assert(
    fc.property(fc.nat(tbsEnd - sctList.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Uint8Array.from(certificate);
      changed[at] = (changed[at] ?? 0) ^ flip;
      expect(() => corresponds(precertificate, changed)).toThrow(AppError);
    }),
  );
});
