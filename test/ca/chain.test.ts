import { loadChain } from '../../src/ca/chain.js';
import { createKeySigner } from '../../src/ca/file-signer.js';
import { encodePem } from '../../src/x509/pem.js';
import { certify, type Draft, newKey, now, oid } from './chains.js';

const keys = { root: newKey(), middle: newKey(), issuing: newKey() };
const signer = createKeySigner(keys.issuing);

type Change = Partial<Draft>;
interface Changes {
  readonly issuing?: Change;
  readonly middle?: Change;
  readonly root?: Change;
}

function chainOf(changes: Changes = {}): { issuing: string; middle: string; root: string } {
  return {
    issuing: certify({
      name: 'issuing',
      issuer: 'middle',
      key: keys.issuing,
      signedBy: keys.middle,
      pathLength: 0,
      usages: [oid.codeSigning],
      ...changes.issuing,
    }),
    middle: certify({ name: 'middle', issuer: 'root', key: keys.middle, signedBy: keys.root, ...changes.middle }),
    root: certify({ name: 'root', issuer: 'root', key: keys.root, signedBy: keys.root, ...changes.root }),
  };
}

function load(changes: Changes = {}) {
  const { issuing, middle, root } = chainOf(changes);
  return loadChain(issuing + middle + root, signer, now);
}

test('loadChain takes a chain of three and gives the narrowest validity', () => {
  const ca = load({ middle: { notAfter: '2029-05-05T00:00:00Z' }, root: { notBefore: '2026-02-02T00:00:00Z' } });
  expect(ca.chain).toHaveLength(3);
  expect(ca.chainPem.join('')).toContain('-----END CERTIFICATE-----\n');
  expect([ca.notBefore, ca.notAfter]).toEqual([new Date('2026-02-02T00:00:00Z'), new Date('2029-05-05T00:00:00Z')]);
  expect(ca.subjectKeyId).toHaveLength(20);
  expect(ca.issuerKeyHash).toHaveLength(32);
});

test('loadChain takes a root that issues directly, without extended key usage', () => {
  const root = certify({ name: 'only', issuer: 'only', key: keys.root, signedBy: keys.root });
  expect(loadChain(`some text\n${root}`, createKeySigner(keys.root), now).chain).toHaveLength(1);
});

test.each<[string, Changes, string]>([
  ['is no CA', { middle: { ca: false } }, 'certificate 2 of 3 (CN=middle, O=lab) is not a CA certificate'],
  ['may not sign certificates', { root: { keyUsage: 0x02 } }, 'certificate 3 of 3 (CN=root, O=lab) may not sign'],
  ['has a pathlen that is too short', { middle: { pathLength: 0 } }, 'certificate 2 of 3 (CN=middle, O=lab) allows 0'],
  ['lacks codeSigning', { issuing: { usages: [oid.serverAuth] } }, 'certificate 1 of 3 (CN=issuing, O=lab) restricts'],
  ['has no extended key usage below a root', { issuing: { usages: [] } }, 'restricts the extended key usage'],
  ['restricts its usage above', { middle: { usages: [oid.serverAuth] } }, '(CN=middle, O=lab) restricts'],
  ['is not yet valid', { issuing: { notBefore: '2026-07-01T00:00:00Z' } }, 'is not valid before 2026-07-01'],
  ['has expired', { root: { notAfter: '2026-05-01T00:00:00Z' } }, '(CN=root, O=lab) has expired at 2026-05-01'],
  ['names another issuer', { middle: { issuer: 'other' } }, 'was issued by CN=other, O=lab; expected certificate 3'],
  ['is signed by another key', { middle: { signedBy: keys.middle } }, 'signature of certificate 2 of 3'],
  ['is a root that somebody else signed', { root: { signedBy: keys.middle } }, 'signature of certificate 3 of 3'],
  [
    'is signed with SHA-1',
    { issuing: { hash: 'sha1', signatureOid: oid.ecdsaSha1 } },
    'certificate 1 of 3 (CN=issuing, O=lab) is signed with the algorithm 1.2.840.10045.4.1',
  ],
])('loadChain names the certificate that %s', (_, changes, message) => {
  expect(() => load(changes)).toThrow(
    expect.objectContaining({ code: 'STARTUP', detail: expect.stringContaining(message) }),
  );
});

const good = chainOf();

test.each<[string, string, string]>([
  ['nothing', '', 'found no PEM block "CERTIFICATE"'],
  ['root first', good.root + good.middle + good.issuing, 'the CA key belongs to certificate 3 of 3 (CN=issuing'],
  [
    'another chain',
    good.middle + good.root,
    'belongs to no certificate of the chain; expected the key of certificate 1',
  ],
  ['no root', good.issuing + good.middle, 'whose certificate is missing; expected the chain to end with a self-signed'],
  ['a gap', good.issuing + good.root, 'was issued by CN=middle, O=lab; expected certificate 2 of 2 (CN=root'],
  [
    'a certificate that is none',
    good.issuing + encodePem('CERTIFICATE', Buffer.from('x')),
    'certificate 2 of 2 is malformed',
  ],
  ['base64 that is none', '-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n', 'does not hold base64'],
])('loadChain says what is wrong with %s', (_, pem, message) => {
  expect(() => loadChain(pem, signer, now)).toThrow(
    expect.objectContaining({ code: 'STARTUP', detail: expect.stringContaining(message) }),
  );
});

test('loadChain demands codeSigning of an intermediate that says nothing about its usage', () => {
  const issuing = certify({ name: 'i', issuer: 'root', key: keys.issuing, signedBy: keys.root });
  expect(() => loadChain(issuing + good.root, signer, now)).toThrow(
    'is an intermediate without extended key usage codeSigning',
  );
});
