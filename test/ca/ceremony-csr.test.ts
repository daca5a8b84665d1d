import { execFileSync, spawnSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { generateKey, type NewKeyKind } from '../../src/ca/ceremony-key.js';
import { encodeCsr, readCsr } from '../../src/ca/csr.js';
import { createKeySigner } from '../../src/ca/file-signer.js';
import { profileExtensions } from '../../src/ca/profile.js';
import { AppError } from '../../src/errors.js';
import { encodeBitString, encodeElement, encodeOid, encodeSequence, tag } from '../../src/x509/der.js';
import { encodeName } from '../../src/x509/name.js';
import { decodePem, encodePem } from '../../src/x509/pem.js';
import { encodeExtension } from '../../src/x509/tbs.js';

const subject = encodeName({ organization: 'Example', commonName: 'issuing CA' });
const kinds: readonly NewKeyKind[] = ['P-256', 'P-384', 'P-521', 'RSA-3072', 'Ed25519'];
const key = await generateKey('P-256');
const good = await encodeCsr(createKeySigner(key), subject, profileExtensions('issuing'));
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

const integer = (n: number): Uint8Array => encodeElement(tag.integer, Uint8Array.of(n));
const attribute = (oid: string, ...values: Uint8Array[]): Uint8Array =>
  encodeSequence(encodeOid(oid), encodeElement(tag.set, ...values));
const extensionRequest = (...extensions: Uint8Array[]): Uint8Array =>
  attribute('1.2.840.113549.1.9.14', encodeSequence(...extensions));
const challengePassword = attribute('1.2.840.113549.1.9.7', encodeElement(tag.utf8String, Buffer.from('secret')));

interface Draft {
  readonly version?: Uint8Array;
  readonly name?: Uint8Array;
  readonly key?: KeyObject;
  readonly signedBy?: KeyObject;
  /** Content of [0]; null leaves the field out. */
  readonly attributes?: readonly Uint8Array[] | null;
  readonly hash?: string | null;
  readonly algorithm?: string;
  readonly more?: readonly Uint8Array[];
}

/** A request with every part open to change. */
function draft(fields: Draft = {}): string {
  const { attributes = [extensionRequest(...profileExtensions('issuing'))], signedBy = fields.key ?? key } = fields;
  const info = encodeSequence(
    fields.version ?? integer(0),
    fields.name ?? subject,
    spkiOf(fields.key ?? key),
    ...(attributes === null ? [] : [encodeElement(tag.context(0), ...attributes)]),
    ...(fields.more ?? []),
  );
  const algorithm = encodeSequence(encodeOid(fields.algorithm ?? '1.2.840.10045.4.3.2'));
  const hash = fields.hash === undefined ? 'sha256' : fields.hash;
  const signature = encodeBitString(sign(hash, info, signedBy));
  return encodePem('CERTIFICATE REQUEST', encodeSequence(info, algorithm, signature));
}

function spkiOf(privateKey: KeyObject): Uint8Array {
  return createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
}

/** The code of the AppError, or the value when there is none. */
function refusal(pem: string | Uint8Array): string {
  try {
    return `accepted ${readCsr(pem).subject.length > 0}`;
  } catch (error) {
    return error instanceof AppError ? `${error.code}: ${error.detail}` : `not an AppError: ${String(error)}`;
  }
}

test.each(kinds)('a request for a %s key reads back as it was made', async (kind) => {
  const signer = createKeySigner(await generateKey(kind));
  const request = readCsr(await encodeCsr(signer, subject, profileExtensions('issuing')));
  expect(Buffer.from(request.subject)).toEqual(Buffer.from(subject));
  expect(Buffer.from(request.spki)).toEqual(signer.publicKey.export({ type: 'spki', format: 'der' }));
  expect(request.extensions.map(({ oid, critical }) => [oid, critical])).toEqual([
    ['2.5.29.19', true],
    ['2.5.29.15', true],
    ['2.5.29.37', false],
  ]);
});

(hasOpenssl ? test : test.skip).each(kinds)('openssl verifies a request for a %s key', async (kind) => {
  const pem = await encodeCsr(createKeySigner(await generateKey(kind)), subject, profileExtensions('timestamping'));
  const text = execFileSync('openssl', ['req', '-noout', '-verify', '-text'], { input: pem, stdio: 'pipe' });
  expect(text.toString()).toContain('Time Stamping');
});

test.each<[string, Draft]>([
  ['without the attributes field, as some tools write it', { attributes: null }],
  ['with no attributes', { attributes: [] }],
  ['with a challenge password before the extensions', { attributes: [challengePassword, extensionRequest()] }],
  ['with an attribute of no values', { attributes: [attribute('1.3.6.1.4.1.311.13.2.3')] }],
  [
    'with an extension nobody knows',
    { attributes: [extensionRequest(encodeExtension('1.2.3.4', true, Buffer.of(5, 0)))] },
  ],
  ['signed with SHA-512 by a P-256 key', { hash: 'sha512', algorithm: '1.2.840.10045.4.3.4' }],
])('a request %s is read', (_title, fields) => {
  expect(refusal(draft(fields))).toBe('accepted true');
});

test('attributes beside the extension request are named, never shown', () => {
  const request = readCsr(draft({ attributes: [challengePassword] }));
  expect(request.otherAttributes).toEqual(['1.2.840.113549.1.9.7']);
  expect(JSON.stringify(request)).not.toContain('secret');
});

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const manyAttributes = Array.from({ length: 65 }, () => challengePassword);

test.each<[string, Draft, RegExp]>([
  ['version 1', { version: integer(1) }, /^CSR_MALFORMED: the version is 1; there is only 0/],
  ['version 2', { version: integer(2) }, /^CSR_MALFORMED: the version is 2/],
  ['a version of no integer', { version: encodeElement(tag.null) }, /^CSR_MALFORMED: the version has tag 0x05/],
  ['a negative version', { version: integer(0xff) }, /^CSR_MALFORMED: the version is negative/],
  ['a subject that is no Name', { name: integer(1) }, /^CSR_MALFORMED: the subject has tag/],
  [
    'the signature of another key',
    { signedBy: otherKey },
    /^PROOF_INVALID: the signature of the request does not verify/,
  ],
  ['a signature by another hash than it says', { hash: 'sha384' }, /^PROOF_INVALID/],
  ['SHA-1', { hash: 'sha1', algorithm: '1.2.840.10045.4.1' }, /^CSR_ALGORITHM_UNSUPPORTED: .*ECDSA with SHA-1/],
  ['RSA-PSS', { key: rsa, algorithm: '1.2.840.113549.1.1.10' }, /^CSR_ALGORITHM_UNSUPPORTED: .*RSA-PSS/],
  ['an algorithm nobody knows', { algorithm: '1.2.3' }, /^CSR_ALGORITHM_UNSUPPORTED: .*the algorithm 1\.2\.3/],
  ['an algorithm for another type of key', { key: rsa }, /^CSR_MALFORMED: .*RSA 2048, which cannot have made/],
  [
    'the extension request twice',
    { attributes: [extensionRequest(), extensionRequest()] },
    /^CSR_MALFORMED: .*stands twice/,
  ],
  [
    'an extension request of two values',
    { attributes: [attribute('1.2.840.113549.1.9.14', encodeSequence(), encodeSequence())] },
    /^CSR_MALFORMED: .*has two values/,
  ],
  [
    'an extension request of none',
    { attributes: [attribute('1.2.840.113549.1.9.14')] },
    /^CSR_MALFORMED: .*requested extensions is missing/,
  ],
  ['an extension that is no sequence', { attributes: [extensionRequest(integer(1))] }, /^CSR_MALFORMED: /],
  ['an attribute that is no sequence', { attributes: [integer(1)] }, /^CSR_MALFORMED: an attribute has tag/],
  ['more attributes than anybody needs', { attributes: manyAttributes }, /^CSR_MALFORMED: more than 64 elements/],
  ['a fifth field', { more: [integer(1)] }, /^CSR_MALFORMED: .*fifth part/],
])('a request with %s is refused', (_title, fields, message) => {
  expect(refusal(draft(fields))).toMatch(message);
});

test('a huge request is refused before it is decoded', () => {
  expect(refusal('A'.repeat(5_000_000))).toMatch(
    /^CSR_MALFORMED: the request has 5000000 bytes; expected 65536 at most/,
  );
});

test.each([
  ['a certificate', encodePem('CERTIFICATE', decodePem(good, ['CERTIFICATE REQUEST']).der), /label "CERTIFICATE"/],
  ['a private key', String(key.export({ type: 'pkcs8', format: 'pem' })), /label "PRIVATE KEY"/],
  ['nothing', '', /found no/],
  ['trailing bytes', encodePem('CERTIFICATE REQUEST', Buffer.concat([derOf(good), Buffer.of(0)])), /1 bytes follow/],
])('%s is refused, with what was found', (_title, pem, message) => {
  expect(refusal(pem)).toMatch(message);
});

test('the older label NEW CERTIFICATE REQUEST and CRLF are read', () => {
  expect(refusal(good.replaceAll('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST').replaceAll('\n', '\r\n'))).toBe(
    'accepted true',
  );
});

function derOf(pem: string): Uint8Array {
  return decodePem(pem, ['CERTIFICATE REQUEST']).der;
}

test('random bytes in a request end in an AppError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 400 }), (bytes) => {
      expect(refusal(encodePem('CERTIFICATE REQUEST', bytes))).toMatch(/^CSR_MALFORMED: /);
      expect(refusal(bytes)).toMatch(/^CSR_MALFORMED: /);
    }),
  );
});

test('a request in which any byte was changed is refused', () => {
  const der = derOf(good);
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const changed = Uint8Array.from(der);
      changed[at] = (changed[at] ?? 0) ^ mask;
      expect(refusal(encodePem('CERTIFICATE REQUEST', changed))).toMatch(/^(CSR|PROOF)_\w+: /);
    }),
    { numRuns: 500 },
  );
});

test('a request that was cut off anywhere is refused', () => {
  const der = derOf(good);
  for (let length = 1; length < der.length; length++) {
    expect(refusal(encodePem('CERTIFICATE REQUEST', der.subarray(0, length)))).toMatch(/^CSR_MALFORMED: /);
  }
});
