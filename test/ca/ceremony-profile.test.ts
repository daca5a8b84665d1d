import { generateKeyPairSync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { loadChain } from '../../src/ca/chain.js';
import { createKeySigner } from '../../src/ca/file-signer.js';
import { purposeOid } from '../../src/ca/profile.js';
import { checkProfile, type Finding } from '../../src/ca/profile-check.js';
import { loadTsaChain } from '../../src/tsa/chain.js';
import { encodeSequence } from '../../src/x509/der.js';
import { decodePem, encodePem } from '../../src/x509/pem.js';
import { encodeExtension } from '../../src/x509/tbs.js';
import { certify, type Draft, nameOf, newKey, now } from './ceremony-drafts.js';

const rootKey = newKey('P-384');
const key = newKey();
const middleKey = newKey();
const root: Draft = { subject: nameOf('root'), issuer: nameOf('root'), key: rootKey, signedBy: rootKey };
const issuing: Draft = {
  subject: nameOf('issuing'),
  issuer: nameOf('root'),
  key,
  signedBy: rootKey,
  basicConstraints: { pathLength: 0 },
  purposes: { oids: [purposeOid.codeSigning] },
};
const timestamping: Draft = {
  subject: nameOf('tsa'),
  issuer: nameOf('root'),
  key,
  signedBy: rootKey,
  basicConstraints: null,
  keyUsage: { bits: 0x80 },
  purposes: { oids: [purposeOid.timeStamping], critical: true },
};
const middle: Draft = { ...issuing, subject: nameOf('middle'), key: middleKey, basicConstraints: {}, purposes: null };
const below = (draft: Draft): Draft => ({ ...draft, issuer: nameOf('middle'), signedBy: middleKey });

const chainOf = (...drafts: Draft[]): string => drafts.map(certify).join('');
const check = (pem: string): readonly Finding[] => checkProfile(pem, { now });
const brief = (findings: readonly Finding[]): string[] =>
  findings.map(({ level, rule, certificate }) => `${level} ${rule} ${certificate ?? '-'}`);

test.each([
  ['an issuing CA below a root', chainOf(issuing, root)],
  ['a CA between the two', chainOf(below(issuing), middle, root)],
  ['a timestamp authority below a root', chainOf(timestamping, root)],
  ['a root that issues by itself', chainOf(root)],
])('nothing is wrong with %s', (_title, pem) => {
  expect(check(pem)).toEqual([]);
});

const serverAuth = '1.3.6.1.5.5.7.3.1';
const sha1 = { hash: 'sha1', oid: '1.2.840.10045.4.1' };
const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength }).privateKey;
const nothing = encodeSequence();

test.each<[string, Draft[], string[], RegExp]>([
  [
    'pathlen too small',
    [below(issuing), { ...middle, basicConstraints: { pathLength: 0 } }, root],
    ['error path-length 2'],
    /allows 0 CA certificates below it \(pathlen\), and the chain has 1/,
  ],
  [
    'a root that allows none below',
    [issuing, { ...root, basicConstraints: { pathLength: 0 } }],
    ['error path-length 2'],
    /the chain has 1/,
  ],
  [
    'an issuing CA that could make CAs',
    [{ ...issuing, basicConstraints: {} }, root],
    ['warning path-length 1'],
    /any number of CA certificates/,
  ],
  [
    'no CA',
    [{ ...issuing, basicConstraints: { ca: false } }, root],
    ['error basic-constraints 1'],
    /is not a CA certificate/,
  ],
  [
    'basicConstraints that are not critical',
    [{ ...issuing, basicConstraints: { pathLength: 0, critical: false } }, root],
    ['error basic-constraints 1'],
    /not critical/,
  ],
  [
    'no code signing',
    [{ ...issuing, purposes: null }, root],
    ['error extended-key-usage 1'],
    /has no extended key usage; expected codeSigning/,
  ],
  [
    'any purpose in an issuing CA',
    [{ ...issuing, purposes: { oids: [purposeOid.any] } }, root],
    ['error extended-key-usage 1'],
    /has the extended key usage any/,
  ],
  [
    'another purpose beside code signing',
    [{ ...issuing, purposes: { oids: [purposeOid.codeSigning, serverAuth] } }, root],
    ['warning extended-key-usage 1'],
    /codeSigning, serverAuth; expected codeSigning alone/,
  ],
  [
    'a root for servers',
    [issuing, { ...root, purposes: { oids: [serverAuth] } }],
    ['error extended-key-usage 2'],
    /serverAuth, so that nothing below it is valid for codeSigning/,
  ],
  [
    'a root with a purpose',
    [issuing, { ...root, purposes: { oids: [purposeOid.codeSigning] } }],
    ['warning extended-key-usage 2'],
    /expected none in a root/,
  ],
  ['no key usage', [{ ...issuing, keyUsage: null }, root], ['error key-usage 1'], /has no keyUsage/],
  [
    'a key usage of signatures only',
    [{ ...issuing, keyUsage: { bits: 0x80 } }, root],
    ['error key-usage 1'],
    /its keyUsage is digitalSignature; expected keyCertSign/,
  ],
  [
    'a key usage of more than certificates',
    [{ ...issuing, keyUsage: { bits: 0x86 } }, root],
    ['warning key-usage 1'],
    /digitalSignature, keyCertSign, cRLSign/,
  ],
  [
    'a key usage that is not critical',
    [{ ...issuing, keyUsage: { critical: false } }, root],
    ['warning key-usage 1'],
    /not critical/,
  ],
  [
    'a leaf in the place of a CA, of which a path length would say nothing',
    [{ ...issuing, basicConstraints: { ca: false }, keyUsage: { bits: 0x80 } }, root],
    ['error basic-constraints 1', 'error key-usage 1'],
    /^(?!.*any number of CA certificates)/s,
  ],
  ['a short RSA key', [{ ...issuing, key: rsa(1024) }, root], ['error key 1'], /RSA 1024, which clients refuse/],
  ['an RSA key of 2048 bits', [{ ...issuing, key: rsa(2048) }, root], ['warning key 1'], /2048 bits; expected 3072/],
  ['a curve that clients refuse', [{ ...issuing, key: newKey('secp256k1') }, root], ['error key 1'], /secp256k1/],
  [
    'SHA-1',
    [{ ...issuing, signature: sha1 }, root],
    ['error signature-algorithm 1'],
    /ECDSA with SHA-1, which clients refuse/,
  ],
  ['SHA-1 in a root', [issuing, { ...root, signature: sha1 }], ['warning signature-algorithm 2'], /even in a root/],
  [
    'an end before the beginning',
    [{ ...issuing, notBefore: '2029-01-01', notAfter: '2028-01-01' }, root],
    ['error validity 1'],
    /ends .* before it begins/,
  ],
  ['an expired CA', [{ ...issuing, notAfter: '2026-05-01' }, root], ['error validity 1'], /has expired at 2026-05-01/],
  [
    'a CA that is not valid yet',
    [{ ...issuing, notBefore: '2027-01-01' }, root],
    ['error validity 1'],
    /is not valid before 2027/,
  ],
  [
    'a CA that expires soon',
    [{ ...issuing, notAfter: '2026-06-11' }, root],
    ['warning validity 1'],
    /expires in 9 days/,
  ],
  [
    'a CA that expires within a day',
    [{ ...issuing, notAfter: '2026-06-02T02:30:00Z' }, root],
    ['warning validity 1'],
    /expires in 14 hours, at 2026-06-02T02:30/,
  ],
  [
    'a CA that outlives its root',
    [{ ...issuing, notAfter: '2031-01-01' }, root],
    ['error validity-order 1'],
    /valid at times when certificate 2 of 2/,
  ],
  [
    'no subject key identifier',
    [{ ...issuing, subjectKeyId: null }, root],
    ['error subject-key-id 1'],
    /no subject key identifier/,
  ],
  [
    'no authority key identifier',
    [{ ...issuing, authorityKeyId: null }, root],
    ['error authority-key-id 1'],
    /no authority key identifier/,
  ],
  [
    "another authority's key identifier",
    [{ ...issuing, authorityKeyId: new Uint8Array(20) }, root],
    ['error authority-key-id 1'],
    /names the key 0{40}/,
  ],
  ['an empty subject', [{ ...issuing, subject: nothing }, root], ['error name 1'], /empty subject/],
  [
    'a subject without a common name',
    [{ ...issuing, subject: subjectWithout('2.5.4.3') }, root],
    ['warning name 1'],
    /no common name/,
  ],
  ['the serial number 0', [{ ...issuing, serial: Uint8Array.of(0) }, root], ['error serial 1'], /serial number 0/],
  [
    'a serial number of 21 bytes',
    [{ ...issuing, serial: Uint8Array.of(1, ...randomBytes(20)) }, root],
    ['error serial 1'],
    /21 bytes/,
  ],
  [
    'a critical extension nobody knows',
    [{ ...issuing, more: [encodeExtension('1.2.3', true, nothing)] }, root],
    ['error critical-extension 1'],
    /critical extension 1\.2\.3/,
  ],
  [
    'name constraints',
    [{ ...issuing, more: [encodeExtension('2.5.29.30', true, nothing)] }, root],
    ['warning name-constraints 1'],
    /issued and then refused/,
  ],
  [
    'the wrong order',
    [root, issuing],
    ['error order 1', 'error root-missing 2'],
    /is a root; expected it to come last/,
  ],
  [
    'a wrong order further up',
    [below(issuing), root, middle],
    ['error order 1', 'error order 2', 'error root-missing 3'],
    /its issuer is certificate 3 of 3/,
  ],
  ['a root that is missing', [issuing], ['error root-missing 1'], /expected the chain to end with a self-signed root/],
  [
    'another root of the same name',
    [issuing, { ...root, key: middleKey, signedBy: middleKey }],
    ['error signature 1', 'error authority-key-id 1'],
    /does not verify with the key of certificate 2/,
  ],
  [
    'a root that another key signed',
    [issuing, { ...root, signedBy: key, authorityKeyId: null }],
    ['error signature 2'],
    /its own key/,
  ],
  ['one certificate twice', [issuing, root, root], ['error order 2', 'error duplicate 3'], /same key as certificate 2/],
  ['one key on two levels', [{ ...issuing, key: rootKey }, root], ['error duplicate 2'], /same key as certificate 1/],
  [
    'one name on two levels',
    [{ ...issuing, subject: nameOf('root') }, { ...root }],
    ['error order 1', 'error duplicate 2'],
    /same subject/,
  ],
])('%s is found', (_title, drafts, expected, message) => {
  const findings = check(chainOf(...drafts));
  expect(brief(findings)).toEqual(expect.arrayContaining(expected));
  expect(findings.map((finding) => finding.message).join('\n')).toMatch(message);
});

test.each<[string, Partial<Draft>, string]>([
  ['no key usage', { keyUsage: null }, 'warning key-usage 2'],
  ['no subject key identifier', { subjectKeyId: null }, 'warning subject-key-id 2'],
  ['basicConstraints that are not critical', { basicConstraints: { critical: false } }, 'warning basic-constraints 2'],
])('%s in a root is no more than a warning', (_title, draft, expected) => {
  expect(brief(check(chainOf(issuing, { ...root, ...draft })))).toEqual([expected]);
});

test.each<[string, Draft[], string[], RegExp]>([
  [
    'a purpose that is not critical',
    [{ ...timestamping, purposes: { oids: [purposeOid.timeStamping] } }, root],
    ['error extended-key-usage 1'],
    /not as a critical extension/,
  ],
  [
    'a second purpose',
    [{ ...timestamping, purposes: { oids: [purposeOid.timeStamping, purposeOid.codeSigning], critical: true } }, root],
    ['error extended-key-usage 1'],
    /expected timeStamping alone/,
  ],
  [
    'no digital signatures',
    [{ ...timestamping, keyUsage: { bits: 0x20 } }, root],
    ['error key-usage 1'],
    /its keyUsage is keyEncipherment/,
  ],
  [
    'a CA between without the purpose',
    [below(timestamping), { ...middle, purposes: null }, root],
    ['error extended-key-usage 2'],
    /expected timeStamping in a CA below a root/,
  ],
])('in a timestamp chain, %s is found', (_title, drafts, expected, message) => {
  const findings = check(chainOf(...drafts));
  expect(brief(findings)).toEqual(expected);
  expect(findings[0]?.message).toMatch(message);
});

test('a key with which the server signs no timestamps is found, and one like it in the root is not', () => {
  const ed25519 = generateKeyPairSync('ed25519').privateKey;
  const edRoot = { ...root, key: ed25519, signedBy: ed25519 };
  expect(brief(check(chainOf({ ...timestamping, key: ed25519 }, root)))).toEqual(['error key 1']);
  expect(check(chainOf({ ...timestamping, signedBy: ed25519 }, edRoot))).toEqual([]);
});

test.each([
  ['TRUSTED CERTIFICATE', 'error stray-block -', /"TRUSTED CERTIFICATE" is passed over; expected "CERTIFICATE"/],
  ['X509 CERTIFICATE', 'error stray-block -', /passed over/],
  ['PKCS7', 'error stray-block -', /passed over/],
  ['EC PRIVATE KEY', 'warning stray-block -', /holds a private key .* a file of its own/],
  ['X509 CRL', 'warning stray-block -', /passed over/],
])('a block "%s" among the certificates is found', (label, expected, message) => {
  const findings = check(`${encodePem(label, nothing)}${chainOf(issuing, root)}`);
  expect(brief(findings)).toEqual([expected]);
  expect(findings[0]?.message).toMatch(message);
});

test('what the chain is for can be said', () => {
  const findings = checkProfile(chainOf(issuing, root), { now, purpose: 'timeStamping' });
  expect(brief(findings)).toEqual(['error basic-constraints 1', 'error key-usage 1', 'error extended-key-usage 1']);
});

test('everything that is wrong is listed, not the first thing only', () => {
  const bad = { ...issuing, keyUsage: null, purposes: null, signature: sha1, notAfter: '2026-05-01' };
  expect(brief(check(chainOf(bad, root)))).toEqual([
    'error signature-algorithm 1',
    'error validity 1',
    'error key-usage 1',
    'error extended-key-usage 1',
  ]);
});

test('a key is compared with the first certificate', () => {
  const withKey = (privateKey: typeof key) =>
    checkProfile(chainOf(issuing, root), { now, publicKey: createKeySigner(privateKey).publicKey });
  expect(withKey(key)).toEqual([]);
  expect(withKey(rootKey)[0]).toMatchObject({
    rule: 'key-mismatch',
    message: expect.stringMatching(/belongs to certificate 2 of 2/),
  });
  expect(withKey(middleKey)[0]).toMatchObject({
    message: expect.stringMatching(/belongs to no certificate of the chain/),
  });
});

test.each([
  ['no PEM', 'hello', /found no PEM block/],
  ['no certificate', encodePem('CERTIFICATE REQUEST', nothing), /found no PEM block "CERTIFICATE"/],
  ['a block that is cut off', '-----BEGIN CERTIFICATE-----\nAAAA', /cannot be read/],
  [
    'a certificate that is none',
    `${chainOf(issuing)}${encodePem('CERTIFICATE', nothing)}`,
    /certificate 2 of 2 is malformed/,
  ],
])('%s is one finding', (_title, pem, message) => {
  const findings = check(pem);
  expect(findings).toHaveLength(1);
  expect(findings[0]).toMatchObject({ level: 'error', rule: 'malformed', message: expect.stringMatching(message) });
});

test('a chain in which any byte was changed has an error, and checking it never throws', () => {
  const [pem, rootPem] = [certify(issuing), certify(root)];
  const { der } = decodePem(pem, ['CERTIFICATE']);
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const changed = Uint8Array.from(der);
      changed[at] = (changed[at] ?? 0) ^ mask;
      const findings = check(encodePem('CERTIFICATE', changed) + rootPem);
      expect(findings.some(({ level }) => level === 'error')).toBe(true);
    }),
    { numRuns: 300 },
  );
});

/** Changes to one certificate, not all of which are faults. */
const changes: readonly Partial<Draft>[] = [
  ...[null, {}, { ca: false }, { pathLength: 0 }, { pathLength: 1 }].map((basicConstraints) => ({ basicConstraints })),
  ...[null, { bits: 0x80 }, { bits: 0x04 }, { critical: false }].map((keyUsage) => ({ keyUsage })),
  ...[purposeOid.codeSigning, purposeOid.any, serverAuth].map((oid) => ({ purposes: { oids: [oid] } })),
  { purposes: null },
  ...['2026-05-01', '2026-06-02', '2029-01-01', '2031-01-01'].map((notAfter) => ({ notAfter })),
  { subjectKeyId: null },
  { authorityKeyId: null },
  { serial: Uint8Array.of(0) },
];
const someChanges = fc
  .subarray([...changes], { maxLength: 2 })
  .map((some) => Object.assign({}, ...some) as Partial<Draft>);

test('the server starts with every chain that has no errors', () => {
  let sound = 0;
  const property = fc.property(
    fc.constantFrom(issuing, timestamping),
    someChanges,
    someChanges,
    (own, changed, above) => {
      const pem = chainOf({ ...own, ...changed }, { ...root, ...above });
      const purpose = own === timestamping ? 'timeStamping' : 'codeSigning';
      if (checkProfile(pem, { now, purpose }).some(({ level }) => level === 'error')) return;
      sound += 1;
      const load = own === timestamping ? loadTsaChain : loadChain;
      load(pem, createKeySigner(key), now);
    },
  );
  fc.assert(property, { numRuns: 400 });
  expect(sound).toBeGreaterThan(10);
});

function subjectWithout(oid: string): Uint8Array {
  const name = Buffer.from(nameOf('issuing'));
  // An attribute of another type in its place: 2.5.4.3 is 06 03 55 04 03.
  const at = name.indexOf(Buffer.of(6, 3, 0x55, 4, Number(oid.split('.').at(-1))));
  name[at + 4] = 5;
  return name;
}
