import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import fc from 'fast-check';
import { isLogKey, signDigitally } from '../../src/ct/digitally-signed.js';
import {
  decodeMerkleTreeLeaf,
  encodeExtraData,
  encodeMerkleTreeLeaf,
  encodeTimestampedEntry,
} from '../../src/ct/leaf.js';
import { decodeLeafIndex, encodeLeafIndex } from '../../src/ct/leaf-index.js';
import type { Sct } from '../../src/ct/log.js';
import {
  decodeSct,
  decodeSctList,
  encodeSct,
  encodeSctList,
  logIdOf,
  sctSigningInput,
  verifySct,
} from '../../src/ct/sct.js';
import { TlsDecodeError } from '../../src/ct/tls.js';

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const submission = { tbs: randomBytes(200), issuerKeyHash: randomBytes(32) };

function sctBy({ privateKey, publicKey }: { privateKey: KeyObject; publicKey: KeyObject }): Sct {
  const [timestamp, extensions] = [1_700_000_000_000n, encodeLeafIndex(7)];
  const input = sctSigningInput({ type: 'precert', ...submission }, timestamp, extensions);
  return { logId: logIdOf(publicKey), timestamp, extensions, signature: signDigitally(input, privateKey) };
}

test('an SCT is the bytes of RFC 6962 Section 3.2', () => {
  const sct = {
    logId: Buffer.alloc(32, 1),
    timestamp: 2n,
    extensions: Buffer.of(9),
    signature: Buffer.of(4, 3, 0, 1, 5),
  };
  const hex = `00${'01'.repeat(32)}0000000000000002000109${'0403000105'}`;
  expect(Buffer.from(encodeSct(sct)).toString('hex')).toBe(hex);
  expect(Buffer.from(encodeSctList([sct])).toString('hex')).toBe(`00330031${hex}`);
});

test('the bytes that an SCT signs are those of RFC 6962 Section 3.2', () => {
  const entry = { type: 'precert', issuerKeyHash: Buffer.alloc(32, 2), tbs: Buffer.of(0xaa) } as const;
  const input = Buffer.from(sctSigningInput(entry, 1n, new Uint8Array())).toString('hex');
  expect(input).toBe(`00000000000000000001${'0001'}${'02'.repeat(32)}000001aa0000`);
});

test.each([
  ['ECDSA P-256', ec],
  ['RSA', rsa],
])('verifySct takes a signature by %s, and no other', (_, pair) => {
  const sct = sctBy(pair);
  expect(verifySct(sct, submission, pair.publicKey)).toBe(true);
  expect(verifySct(sct, { ...submission, tbs: randomBytes(200) }, pair.publicKey)).toBe(false);
  expect(verifySct(sct, { ...submission, issuerKeyHash: randomBytes(32) }, pair.publicKey)).toBe(false);
  expect(verifySct({ ...sct, timestamp: 1n }, submission, pair.publicKey)).toBe(false);
  expect(verifySct({ ...sct, extensions: encodeLeafIndex(8) }, submission, pair.publicKey)).toBe(false);
  expect(verifySct({ ...sct, logId: randomBytes(32) }, submission, pair.publicKey)).toBe(false);
  expect(verifySct(sct, submission, pair === ec ? rsa.publicKey : ec.publicKey)).toBe(false);
});

test.each([
  ['nothing', []],
  ['SHA-1', [2, 3, 0, 0]],
  ['RSA by an ECDSA key', [4, 1, 0, 0]],
  ['a length beyond its end', [4, 3, 0, 9]],
  ['bytes left over', [4, 3, 0, 0, 1]],
])('a signature struct with %s does not verify', (_, signature) => {
  expect(verifySct({ ...sctBy(ec), signature: Uint8Array.from(signature) }, submission, ec.publicKey)).toBe(false);
});

const sctArbitrary = fc.record({
  logId: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  timestamp: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  extensions: fc.uint8Array({ maxLength: 40 }),
  signature: fc.uint8Array({ maxLength: 80 }).map((s) => Buffer.concat([Buffer.of(4, 3, 0, s.length), s])),
});

test('what is encoded is decoded', () => {
  fc.assert(
    fc.property(fc.array(sctArbitrary, { minLength: 1, maxLength: 3 }), (scts) => {
      const decoded = decodeSctList(encodeSctList(scts));
      expect(decoded.map(encodeSct)).toEqual(scts.map(encodeSct));
      expect(decoded.map(({ timestamp }) => timestamp)).toEqual(scts.map(({ timestamp }) => timestamp));
    }),
  );
});

test('an SCT cut short or followed by anything is refused', () => {
  fc.assert(
    fc.property(sctArbitrary, fc.nat(), (sct, at) => {
      const bytes = encodeSct(sct);
      expect(() => decodeSct(bytes.subarray(0, at % bytes.length))).toThrow(TlsDecodeError);
      expect(() => decodeSct(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(TlsDecodeError);
    }),
  );
});

test.each([
  ['an empty list', '0000'],
  ['an empty SCT', '00020000'],
  ['a list longer than the bytes', '00050033'],
  ['a v2 SCT', `002f002d01${'00'.repeat(44)}`],
])('%s is refused', (_, hex) => {
  expect(() => decodeSctList(Buffer.from(hex, 'hex'))).toThrow(TlsDecodeError);
});

test('random bytes never give anything but SCTs or a TlsDecodeError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decodeSctList(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(TlsDecodeError);
      }
    }),
  );
});

test('a list without an SCT cannot be encoded', () => {
  expect(() => encodeSctList([])).toThrow(RangeError);
});

describe('leaf_index', () => {
  test('index 1 is eight bytes', () => {
    expect(Buffer.from(encodeLeafIndex(1)).toString('hex')).toBe('0000050000000001');
  });

  test('every index below 2^40 is read back, also behind an unknown extension', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 40 - 1 }), (index) => {
        expect(decodeLeafIndex(encodeLeafIndex(index))).toBe(index);
        expect(decodeLeafIndex(Buffer.concat([Buffer.of(9, 0, 1, 7), encodeLeafIndex(index)]))).toBe(index);
      }),
    );
  });

  test.each([
    ['twice', '00000500000000010000050000000001'],
    ['too short', '00000400000001'],
    ['cut off', '000005000000'],
  ])('%s is refused', (_, hex) => {
    expect(() => decodeLeafIndex(Buffer.from(hex, 'hex'))).toThrow(TlsDecodeError);
  });

  test('no extensions, no index', () => {
    expect(decodeLeafIndex(new Uint8Array())).toBeUndefined();
  });
});

test.each([
  ['x509', { type: 'x509', certificate: randomBytes(90) }],
  ['precert', { type: 'precert', ...submission }],
] as const)('a MerkleTreeLeaf of an %s entry is read back', (_, entry) => {
  const bytes = encodeMerkleTreeLeaf(encodeTimestampedEntry({ timestamp: 5n, entry, extensions: encodeLeafIndex(3) }));
  expect(decodeMerkleTreeLeaf(bytes)).toMatchObject({ timestamp: 5n, entry: { type: entry.type } });
  expect(() => decodeMerkleTreeLeaf(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(TlsDecodeError);
  expect(() => decodeMerkleTreeLeaf(Buffer.concat([Buffer.of(1), bytes.subarray(1)]))).toThrow('version 1');
});

test('extra_data of a precert entry is the precertificate and its chain', () => {
  expect(Buffer.from(encodeExtraData([Buffer.of(2), Buffer.of(3)], Buffer.of(1))).toString('hex')).toBe(
    '00000101000008' + '0000010200000103',
  );
  expect(Buffer.from(encodeExtraData([Buffer.of(2)])).toString('hex')).toBe('00000400000102');
});

test.each([
  ['P-256', ec.publicKey, true],
  ['RSA-2048', rsa.publicKey, true],
  ['P-384', generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey, false],
  ['Ed25519', generateKeyPairSync('ed25519').publicKey, false],
])('whether a log may have a %s key', (_, key, may) => {
  expect(isLogKey(createPublicKey(key.export({ type: 'spki', format: 'pem' })))).toBe(may);
});

test('a signature made elsewhere verifies', () => {
  const sct = sctBy(ec);
  const input = sctSigningInput({ type: 'precert', ...submission }, sct.timestamp, sct.extensions);
  const raw = sign('sha256', input, ec.privateKey);
  const signature = Buffer.concat([Buffer.of(4, 3, 0, raw.length), raw]);
  expect(verifySct({ ...sct, signature }, submission, ec.publicKey)).toBe(true);
});
