import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { encodeExtraData, encodeMerkleTreeLeaf, encodeTimestampedEntry } from '../../src/ct/leaf.js';
import type { LogEntry } from '../../src/ctlog/reads.js';
import { detailOf, searchedFields, summaryOf } from '../../src/page/certificate.js';
import { describeExtension } from '../../src/page/extension-text.js';
import { chain, issuerKeyHash, newCertificate } from '../ctlog/certificates.js';
import { hostile } from './hostile.js';
import { type Leaf, precertificateOf, workflow } from './lab.js';

function entryOf(leaf: Leaf): LogEntry {
  const { precertificate, tbs } = precertificateOf(leaf);
  return precert(precertificate, tbs);
}

function precert(precertificate: Uint8Array, tbs: Uint8Array): LogEntry {
  const entry = { type: 'precert', issuerKeyHash, tbs } as const;
  const leafInput = encodeMerkleTreeLeaf(
    encodeTimestampedEntry({ timestamp: 1_700_000_000_000n, entry, extensions: new Uint8Array() }),
  );
  return { leafInput, extraData: encodeExtraData(chain, precertificate) };
}

test('a certificate is decoded with its extensions named', () => {
  const detail = detailOf(entryOf(workflow), 5);
  expect(detail).toMatchObject({
    index: 5,
    loggedAt: 1_700_000_000_000,
    kind: 'precertificate',
    names: [{ type: 'URI', value: workflow.names?.[0]?.[1] }],
    issuer: workflow.issuer,
    publicKey: 'ECDSA P-256',
    signatureAlgorithm: 'ECDSA with SHA-256',
    issuedBy: 'CN=test issuing CA',
  });
  expect(detail.extensions.map(({ name, value }) => [name, value])).toEqual([
    ['Subject Alternative Name', `URI: ${workflow.names?.[0]?.[1]}`],
    ['Issuer', workflow.issuer],
    ['Issuer', workflow.issuer],
    ['Runner Environment', 'github-hosted'],
    ['Source Repository URI', 'https://github.com/acme/app'],
    ['Source Repository Ref', 'refs/heads/main'],
    ['Precertificate Poison', 'not usable as a certificate'],
  ]);
  const certificate = new X509Certificate(detail.pem);
  expect(detail.serial).toBe(certificate.serialNumber.toLowerCase());
  expect(detail.fingerprint).toBe(certificate.fingerprint256.replaceAll(':', '').toLowerCase());
});

test('a final certificate, put in by add-chain, is decoded too', () => {
  const certificate = newCertificate();
  const leafInput = encodeMerkleTreeLeaf(
    encodeTimestampedEntry({ timestamp: 1n, entry: { type: 'x509', certificate }, extensions: new Uint8Array() }),
  );
  const detail = detailOf({ leafInput, extraData: encodeExtraData(chain) }, 0);
  expect(detail).toMatchObject({ kind: 'certificate', names: [] });
  expect(new X509Certificate(detail.pem).raw).toEqual(certificate);
  expect(detail.extensions).toEqual([
    { oid: '2.5.29.15', name: 'Key Usage', critical: true, value: 'Digital Signature', form: 'text' },
  ]);
});

test.each(Object.entries(hostile))('a certificate with %s is bounded in a list', (_, leaf) => {
  const entry = entryOf(leaf);
  const summary = summaryOf(entry, 0);
  expect(JSON.stringify(summary).length).toBeLessThan(12_000);
  expect(JSON.stringify(detailOf(entry, 0)).length).toBeLessThan(200_000);
  for (const { value } of summary.names) expect(value.length).toBeLessThan(300);
});

test('a long value is cut between characters and says so; the search sees all of it', () => {
  const value = `${'😀'.repeat(200)}x`;
  const entry = entryOf({ names: [['username', value]] });
  const [name] = summaryOf(entry, 0).names;
  expect(name?.value).toBe(`${'😀'.repeat(120)}… (161 more characters)`);
  expect(searchedFields(entry).names[0]?.value).toBe(value);
});

test('what cannot be decoded is shown as bytes, or as an entry that cannot be read', () => {
  const malformed = hostile['malformed extensions'] as Leaf;
  expect(detailOf(entryOf(malformed), 0).extensions.map(({ form, value }) => [form, value])).toEqual([
    ['text', 'email (bytes): 41ff'],
    ['bytes', '0c02c328'],
    ['bytes', 'deadbeef'],
    ['text', 'not usable as a certificate'],
  ]);
  expect(detailOf(precert(Buffer.from('3000', 'hex'), Buffer.of(1)), 3)).toMatchObject({
    index: 3,
    names: [],
    trouble: expect.stringContaining('cannot be decoded'),
    extensions: [],
  });
});

test('no bytes of a certificate or an extension make the decoding throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(summaryOf(precert(bytes, Buffer.of(1)), 0).index).toBe(0);
    }),
  );
  const { precertificate, tbs } = precertificateOf(workflow);
  fc.assert(
    fc.property(fc.nat({ max: precertificate.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const changed = Buffer.from(precertificate);
      changed[at] = (changed[at] ?? 0) ^ change;
      expect(detailOf(precert(changed, tbs), 0).pem).toContain('BEGIN CERTIFICATE');
    }),
    { numRuns: 500 },
  );
  const oids = ['2.5.29.17', '2.5.29.15', '2.5.29.37', '2.5.29.14', '2.5.29.35', '2.5.29.19', '1.3.6.1.4.1.57264.1.8'];
  fc.assert(
    fc.property(fc.constantFrom(...oids), fc.uint8Array({ maxLength: 60 }), (oid, value) => {
      expect(describeExtension({ oid, critical: false, value, encoding: value }).oid).toBe(oid);
    }),
  );
});
