import { describe, expect, test } from '@jest/globals';
import * as asn1js from 'asn1js';
import fc from 'fast-check';
import * as pkijs from 'pkijs';
import { AppError } from '../../src/errors.js';
import { parseQuery } from '../../src/tsa/query.js';
import { oids, query } from './lab.js';

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** `openssl ts -query -digest … -sha256 -cert` with a nonce. */
const openssl = hex(
  `
  3043 020101 3031 300d 0609 608648016503040201 0500 0420
  5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
  0208 1234567890abcdef 0101ff`.replace(/\s/g, ''),
);

function refusal(bytes: Uint8Array): AppError {
  try {
    parseQuery(bytes);
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('the query was accepted');
}

test('parseQuery reads what openssl ts sends', () => {
  expect(parseQuery(openssl)).toEqual({
    hash: { name: 'sha256', oid: oids.sha256, bytes: 32 },
    nullParameters: true,
    digest: Uint8Array.from(openssl.subarray(24, 56)),
    policy: undefined,
    nonce: Uint8Array.from(hex('1234567890abcdef')),
    certReq: true,
  });
});

test.each([
  ['sha256', oids.sha256, 32],
  ['sha384', '2.16.840.1.101.3.4.2.2', 48],
  ['sha512', '2.16.840.1.101.3.4.2.3', 64],
])('parseQuery takes %s, with and without NULL parameters', (name, algorithm, size) => {
  const digest = new Uint8Array(size).fill(9);
  expect(parseQuery(query({ algorithm, digest }))).toMatchObject({ hash: { name }, digest, nullParameters: true });
  expect(parseQuery(query({ algorithm, digest, parameters: undefined }))).toMatchObject({ nullParameters: false });
});

test('parseQuery takes a false certReq that DER would have left out, and a negative nonce', () => {
  const explicit = Buffer.concat([openssl.subarray(0, -1), hex('00')]);
  expect(parseQuery(explicit).certReq).toBe(false);
  expect(parseQuery(query({ nonce: hex('ff') })).nonce).toEqual(Uint8Array.of(0xff));
});

const longer = (bytes: Uint8Array): Uint8Array => Buffer.concat([bytes, hex('00')]);
const withByte = (at: number, value: number): Uint8Array => {
  const copy = Buffer.from(openssl);
  copy[at] = value;
  return copy;
};
const extension = (critical: boolean) => [
  new pkijs.Extension({ extnID: '1.2.3.4', critical, extnValue: new Uint8Array([5, 0]).buffer }),
];

describe('parseQuery refuses', () => {
  test.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(), 'TSA_REQUEST_MALFORMED'],
    ['a byte', hex('30'), 'TSA_REQUEST_MALFORMED'],
    ['an empty sequence', hex('3000'), 'TSA_REQUEST_MALFORMED'],
    ['text', Buffer.from('garbage'), 'TSA_REQUEST_MALFORMED'],
    ['bytes after the end', longer(openssl), 'TSA_REQUEST_MALFORMED'],
    ['a request cut short', openssl.subarray(0, 50), 'TSA_REQUEST_MALFORMED'],
    ['an indefinite length', Buffer.concat([hex('3080'), openssl.subarray(2), hex('0000')]), 'TSA_REQUEST_MALFORMED'],
    ['a length of 4 GiB', hex('3084ffffffff'), 'TSA_REQUEST_MALFORMED'],
    ['version 2', query({ version: 2 }), 'TSA_REQUEST_UNSUPPORTED'],
    ['version 0', query({ version: 0 }), 'TSA_REQUEST_UNSUPPORTED'],
    ['SHA-1', query({ algorithm: oids.sha1, digest: new Uint8Array(20) }), 'TSA_ALGORITHM_UNSUPPORTED'],
    ['an unknown digest', query({ algorithm: '1.2.3.4' }), 'TSA_ALGORITHM_UNSUPPORTED'],
    ['parameters', query({ parameters: new asn1js.Integer({ value: 1 }) }), 'TSA_ALGORITHM_UNSUPPORTED'],
    ['a short digest', query({ digest: new Uint8Array(31) }), 'TSA_REQUEST_MALFORMED'],
    ['no digest', query({ digest: new Uint8Array(0) }), 'TSA_REQUEST_MALFORMED'],
    ['a padded nonce', query({ nonce: hex('0001') }), 'TSA_REQUEST_MALFORMED'],
    [
      'an empty nonce',
      Buffer.concat([hex('303b'), openssl.subarray(2, 56), hex('0200 0101ff')]),
      'TSA_REQUEST_MALFORMED',
    ],
    ['a critical extension', query({ extensions: extension(true) }), 'TSA_EXTENSION_UNACCEPTED'],
    ['an extension', query({ extensions: extension(false) }), 'TSA_EXTENSION_UNACCEPTED'],
    ['a sequence for the nonce', withByte(56, 0x30), 'TSA_REQUEST_MALFORMED'],
    ['a thousand nested sequences', nested(1000), 'TSA_REQUEST_MALFORMED'],
    ['eight thousand nested indefinite sequences', Buffer.alloc(16_000, '3080', 'hex'), 'TSA_REQUEST_MALFORMED'],
  ])('%s', (_what, bytes, code) => {
    expect(refusal(bytes)).toMatchObject({ code });
  });
});

function nested(depth: number): Uint8Array {
  let bytes: Uint8Array = new Uint8Array();
  for (let i = 0; i < depth; i++) bytes = wrap(bytes);
  return bytes;
}

function wrap(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (length < 0x80) return Buffer.concat([Uint8Array.of(0x30, length), bytes]);
  if (length < 0x100) return Buffer.concat([Uint8Array.of(0x30, 0x81, length), bytes]);
  return Buffer.concat([Uint8Array.of(0x30, 0x82, length >> 8, length & 0xff), bytes]);
}

test('parseQuery answers any bytes with a request or an AppError', () => {
  const mutated = fc
    .array(fc.tuple(fc.nat(openssl.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
    .map((changes) => {
      const copy = Uint8Array.from(openssl);
      for (const [at, value] of changes) copy[at] = value;
      return copy;
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 400 })), (bytes) => {
      try {
        const { hash, digest } = parseQuery(bytes);
        expect(digest).toHaveLength(hash.bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
        expect((error as AppError).httpStatus).toBe(400);
      }
    }),
    { numRuns: 2000 },
  );
});

test('parseQuery gives back every part of a request', () => {
  const nonce = fc.bigInt({ min: -(2n ** 127n), max: 2n ** 160n }).map(octets);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), nonce, fc.boolean(), (digest, number, certReq) => {
      const read = parseQuery(query({ digest, nonce: number, certReq, policy: '1.2.840.1' }));
      expect(read).toMatchObject({ digest, nonce: number, certReq, policy: '1.2.840.1' });
    }),
  );
});

function octets(value: bigint): Uint8Array {
  let bytes = 1;
  while (BigInt.asIntN(bytes * 8, value) !== value) bytes += 1;
  return Uint8Array.from(
    hex(
      BigInt.asUintN(bytes * 8, value)
        .toString(16)
        .padStart(bytes * 2, '0'),
    ),
  );
}
