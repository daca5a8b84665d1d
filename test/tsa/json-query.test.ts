import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { AppError } from '../../src/errors.js';
import { parseJsonQuery } from '../../src/tsa/json-query.js';

const digest = new Uint8Array(32).fill(7);
const artifactHash = Buffer.from(digest).toString('base64');
const body = (text: string): Uint8Array => Buffer.from(text);
const json = (fields: object): Uint8Array => body(JSON.stringify({ artifactHash, hashAlgorithm: 'sha256', ...fields }));

test('parseJsonQuery reads the least and the most that a client sends', () => {
  expect(parseJsonQuery(json({}))).toEqual({
    hash: expect.objectContaining({ name: 'sha256' }),
    nullParameters: true,
    digest: Buffer.from(digest),
    policy: undefined,
    nonce: undefined,
    certReq: false,
  });
  const all = json({ certificates: true, nonce: 1234, tsaPolicyOID: '1.2.3', somethingElse: [] });
  expect(parseJsonQuery(all)).toMatchObject({ certReq: true, nonce: Buffer.from([0x04, 0xd2]), policy: '1.2.3' });
});

test.each([
  ['SHA256', 'sha256', 32],
  ['sha384', 'sha384', 48],
  ['sha512', 'sha512', 64],
])('parseJsonQuery knows the algorithm as %s', (hashAlgorithm, name, size) => {
  const hash = Buffer.alloc(size).toString('base64');
  expect(parseJsonQuery(json({ hashAlgorithm, artifactHash: hash }))).toMatchObject({ hash: { name } });
});

test.each([
  ['0', '00'],
  ['127', '7f'],
  ['128', '0080'],
  ['-1', 'ff'],
  ['9223372036854775807', '7fffffffffffffff'],
  ['-9223372036854775808', '8000000000000000'],
  ['9007199254740993', '20000000000001'],
  ['1461501637330902918203684832716283019655932542975', '00ffffffffffffffffffffffffffffffffffffffff'],
])('parseJsonQuery keeps the nonce %s to its last digit', (nonce, octets) => {
  const text = `{ "nonce" : ${nonce} , "artifactHash": "${artifactHash}", "hashAlgorithm": "sha256" }`;
  expect(Buffer.from(parseJsonQuery(body(text)).nonce ?? []).toString('hex')).toBe(octets);
});

describe('parseJsonQuery refuses', () => {
  const large = '9007199254740993';
  test.each<[string, Uint8Array, string]>([
    ['no JSON', body('x'), 'BODY_MALFORMED'],
    ['an array', body('[]'), 'BODY_MALFORMED'],
    ['an empty body', body(''), 'BODY_MALFORMED'],
    ['no digest', body('{"hashAlgorithm":"sha256"}'), 'BODY_MALFORMED'],
    [
      'a key twice',
      body(`{"artifactHash":"${artifactHash}","artifactHash":"","hashAlgorithm":"sha256"}`),
      'BODY_MALFORMED',
    ],
    ['a digest of another length', json({ hashAlgorithm: 'sha384' }), 'TSA_REQUEST_MALFORMED'],
    ['a digest that is no base64', json({ artifactHash: '!!' }), 'TSA_REQUEST_MALFORMED'],
    ['SHA-1', json({ hashAlgorithm: 'sha1' }), 'TSA_ALGORITHM_UNSUPPORTED'],
    ['a nonce in a string', json({ nonce: '5' }), 'BODY_MALFORMED'],
    ['a fraction', json({ nonce: 1.5 }), 'BODY_MALFORMED'],
    [
      'a nonce with an exponent',
      body(`{"artifactHash":"${artifactHash}","hashAlgorithm":"sha256","nonce":1e30}`),
      'BODY_MALFORMED',
    ],
    [
      'a large nonce with another one below',
      body(`{"artifactHash":"${artifactHash}","hashAlgorithm":"sha256","nonce":${large},"x":{"nonce":${large}}}`),
      'BODY_MALFORMED',
    ],
    ['a word for certificates', json({ certificates: 'yes' }), 'BODY_MALFORMED'],
  ])('%s', (_what, bytes, code) => {
    expect(() => parseJsonQuery(bytes)).toThrow(expect.objectContaining({ code }));
  });
});

test('parseJsonQuery answers any JSON with a request or an AppError', () => {
  const fields = fc.record({ artifactHash: fc.anything(), hashAlgorithm: fc.anything(), nonce: fc.anything() });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.json(),
        fields.map((value) => JSON.stringify(value, plain)),
        fc.string(),
      ),
      (text) => {
        try {
          parseJsonQuery(body(text));
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
          expect((error as AppError).httpStatus).toBe(400);
        }
      },
    ),
  );
});

function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
