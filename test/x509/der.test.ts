import fc from 'fast-check';
import { parseCertificate } from '../../src/x509/certificate.js';
import {
  children,
  contentOf,
  DerError,
  encodeElement,
  encodeOid,
  encodeTime,
  readDer,
  readOid,
  readTime,
  readUnsigned,
} from '../../src/x509/der.js';
import { DerWriter } from '../../src/x509/der-writer.js';
import { describeName, encodeName } from '../../src/x509/name.js';
import { parseSpki } from '../../src/x509/spki.js';
import { encodeCertificate, encodeTbs } from '../../src/x509/tbs.js';
import { sampleLeaf } from './golden.js';

const der = (hex: string) => readDer(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

test.each([
  ['an empty input', ''],
  ['half a header', '30'],
  ['content that is cut off', '3003 0201'],
  ['bytes after the end', '3000 00'],
  ['an indefinite length', '3080 0000'],
  ['a length in more bytes than needed', '308103 020101'],
  ['a length with a leading zero', '30820003 020101'],
  ['a length of five bytes', '308501 00000000'],
  ['a length beyond 2^31', '3084ffffffff'],
  ['a tag of several bytes', '3f8101 00'],
])('readDer refuses %s', (_, hex) => {
  expect(() => der(hex)).toThrow(DerError);
});

test.each([
  ['a child longer than its parent', '3003 020501'],
  ['children of a primitive element', '0403 020101'],
])('children refuses %s', (_, hex) => {
  expect(() => children(der(hex))).toThrow(DerError);
});

test('children bounds how many elements it collects', () => {
  const crowd = readDer(encodeElement(0x30, Buffer.alloc(4000, Buffer.from('0500', 'hex'))));
  expect(() => children(crowd)).toThrow('more than 1024');
});

test('a thousand nested sequences cost nothing, because nothing descends into them', () => {
  let nested: Uint8Array = new Uint8Array();
  for (let i = 0; i < 1000; i++) nested = encodeElement(0x30, nested);
  expect(children(readDer(nested))).toHaveLength(1);
});

test.each([
  ['negative', '0201ff'],
  ['empty', '0200'],
  ['padded', '02020001'],
])('readUnsigned refuses a %s integer', (_, hex) => {
  expect(() => readUnsigned(der(hex), 'n')).toThrow(DerError);
});

test.each([
  ['cut off', '06022a86'],
  ['empty', '0600'],
  ['padded', '06032a8001'],
  ['huge', `060b2a${'ff'.repeat(9)}7f`],
])('readOid refuses an OID that is %s', (_, hex) => {
  expect(() => readOid(der(hex), 'oid')).toThrow(DerError);
});

test.each(['1.2.840.113549.1.1.11', '2.5.29.17', '1.3.6.1.4.1.57264.1.24', '2.999.1', '0.9'])(
  '%s survives encoding',
  (oid) => {
    expect(readOid(readDer(encodeOid(oid)), 'oid')).toBe(oid);
  },
);

test.each([
  ['a day that does not exist', '170d 3236303233303132303030305a'],
  ['no seconds', '170b 323630323230313230305a'],
  ['an offset instead of Z', '1711 3236303232303132303030302b30313030'],
  ['another type', '0c0d 3236303232303132303030305a'],
])('readTime refuses %s', (_, hex) => {
  expect(() => readTime(der(hex), 'time')).toThrow(DerError);
});

test('any second from 1950 to 9999 survives encoding', () => {
  const seconds = fc.integer({ min: -631152000, max: 253402300799 }).map((s) => new Date(s * 1000));
  fc.assert(fc.property(seconds, (time) => expect(readTime(readDer(encodeTime(time)), 'time')).toEqual(time)));
});

test('DerWriter and encodeElement agree for every length class', () => {
  for (const length of [0, 1, 127, 128, 255, 256, 65535, 65536, 70000]) {
    const writer = new DerWriter(16);
    writer.raw(Buffer.alloc(length, 5));
    writer.close(0x04, 0);
    expect(Buffer.compare(writer.finish(), encodeElement(0x04, Buffer.alloc(length, 5)))).toBe(0);
    expect(contentOf(readDer(writer.finish()))).toHaveLength(length);
  }
});

const sample = encodeCertificate(encodeTbs(sampleLeaf), sampleLeaf.signatureAlgorithm, Buffer.alloc(70, 1));

test.each<[string, (bytes: Uint8Array) => unknown]>([
  ['parseCertificate', parseCertificate],
  ['parseSpki', parseSpki],
])('%s throws nothing but DerError on random and on mutated bytes', (_, parse) => {
  const mutated = fc
    .array(fc.tuple(fc.nat(sample.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
    .map((changes) => {
      const bytes = Uint8Array.from(sample);
      for (const [at, value] of changes) bytes[at] = value;
      return bytes;
    });
  const cut = fc.nat(sample.length).map((length) => sample.subarray(0, length));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), mutated, cut), (bytes) => {
      try {
        parse(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(DerError);
      }
    }),
    { numRuns: 500 },
  );
});

test('describeName reads names for people and survives any bytes', () => {
  expect(describeName(encodeName({ organization: 'lab', commonName: 'ro"ot' }))).toBe('CN=ro\\"ot, O=lab');
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => typeof describeName(bytes) === 'string'));
});
