import fc from 'fast-check';
import { AppError } from '../../src/errors.js';
import { parseCertificate } from '../../src/x509/certificate.js';
import {
  encodeCertificate,
  encodeTbs,
  type LeafFields,
  newSerial,
  poisonExtension,
  sctListExtension,
} from '../../src/x509/tbs.js';
import {
  fieldsOf,
  goldenCertificate,
  goldenNames,
  goldenPresent,
  readGolden,
  sampleLeaf,
  sctListOf,
} from './golden.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const reparse = (leaf: LeafFields, last?: Uint8Array) =>
  parseCertificate(encodeCertificate(encodeTbs(leaf, last), leaf.signatureAlgorithm, Buffer.alloc(70, 1)));
const extensionValue = (leaf: LeafFields, oid: string) =>
  reparse(leaf).extensions.find((item) => item.oid === oid)?.value;

describe(goldenPresent ? 'encodeTbs against a real Fulcio' : 'skipped: ../shared/golden is not here', () => {
  const cases = goldenPresent ? test : test.skip;

  cases.each(goldenNames)('gives the bytes that Fulcio signed for %s', (name) => {
    const certificate = parseCertificate(goldenCertificate(name));
    const tbs = encodeTbs(fieldsOf(certificate), sctListExtension(sctListOf(certificate)));
    expect(hex(tbs)).toBe(hex(certificate.tbs));
    expect(hex(encodeCertificate(tbs, certificate.signatureAlgorithm, certificate.signature))).toBe(
      hex(certificate.der),
    );
  });

  cases.each(goldenNames)('writes the extensions of %s in the listed order and criticality', (name) => {
    const listed = readGolden(`certificates/${name}.json`).extensions;
    const leaf = fieldsOf(parseCertificate(goldenCertificate(name)));
    const mine = reparse(leaf).extensions.map(({ oid, critical, value }) => ({ oid, critical, value: hex(value) }));
    expect(mine).toEqual(listed.slice(0, mine.length));
    expect(listed.length - mine.length).toBe(1);
  });
});

describe('encodeTbs', () => {
  test('leaves out absent and empty extensions', () => {
    expect(reparse(sampleLeaf).extensions.map(({ oid }) => oid)).toEqual([
      '2.5.29.15',
      '2.5.29.37',
      '2.5.29.14',
      '2.5.29.35',
      '2.5.29.17',
      '1.3.6.1.4.1.57264.1.1',
      '1.3.6.1.4.1.57264.1.8',
      '1.3.6.1.4.1.57264.1.20',
      '1.3.6.1.4.1.57264.1.24',
    ]);
  });

  test('puts the critical poison last', () => {
    expect(reparse(sampleLeaf, poisonExtension).extensions.at(-1)).toMatchObject({
      oid: '1.3.6.1.4.1.11129.2.4.3',
      critical: true,
      value: new Uint8Array([5, 0]),
    });
  });

  test('drops fractions of a second', () => {
    expect(reparse(sampleLeaf).notBefore).toEqual(new Date('2026-05-01T10:00:00Z'));
  });

  test.each([
    ['2049-12-31T23:59:59Z', '170d3439313233313233353935395a'],
    ['2050-01-01T00:00:00Z', '180f32303530303130313030303030305a'],
  ])('writes %s in the form RFC 5280 asks for', (time, der) => {
    const tbs = hex(encodeTbs({ ...sampleLeaf, notAfter: new Date(time) }));
    expect(tbs).toContain(der);
  });

  test.each([
    ['email', 'jörg@example.com', 'ASCII'],
    ['email', '', 'ASCII'],
    ['email', 'a@example.com\0.evil.com', 'ASCII'],
    ['uri', 'https://example.com/ü', 'percent-encoded'],
    ['uri', 'https://example.com/a b', 'percent-encoded'],
    ['username', 'alice\u0000!example.com', 'control characters'],
    ['username', 'alice\ud800!example.com', 'control characters'],
  ] as const)('refuses the %s %j', (kind, value, expected) => {
    expect(() => encodeTbs({ ...sampleLeaf, san: { kind, value } })).toThrow(
      expect.objectContaining({ code: 'CLAIM_INVALID', detail: expect.stringContaining(expected) }),
    );
  });

  test('refuses half a surrogate pair in an extension, which UTF-8 would alter', () => {
    const leaf = { ...sampleLeaf, extensions: { tokenSubject: 'a\udc00b' } };
    expect(() => encodeTbs(leaf)).toThrow(AppError);
  });

  test('carries any Unicode extension value unchanged, whatever its length', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', minLength: 1, maxLength: 300 }),
        fc.integer({ min: 1, max: 40 }),
        (text, times) => {
          const value = text.repeat(times);
          fc.pre(!/\p{Cs}/u.test(value));
          const leaf = { ...sampleLeaf, extensions: { issuer: value } };
          expect(Buffer.from(extensionValue(leaf, '1.3.6.1.4.1.57264.1.1') ?? []).toString('utf8')).toBe(value);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('newSerial', () => {
  test.each([
    ['ff'.repeat(20), `7f${'ff'.repeat(19)}`],
    [`80${'ff'.repeat(19)}`, `00${'ff'.repeat(19)}`],
    [`8000${'7f'.repeat(18)}`, '7f'.repeat(18)],
    [`${'00'.repeat(19)}80`, '0080'],
  ])('makes minimal positive content octets of random %s', (random, serial) => {
    expect(hex(newSerial(() => Buffer.from(random, 'hex')))).toBe(serial);
  });

  test('draws again rather than give zero', () => {
    const draws = [Buffer.alloc(20), Buffer.alloc(20, 3)];
    expect(hex(newSerial(() => draws.shift() ?? Buffer.alloc(20, 9)))).toBe('03'.repeat(20));
  });
});
