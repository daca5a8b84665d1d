import fc from 'fast-check';
import { AppError } from '../../src/errors.js';
import { decodeBase64 } from '../../src/http/base64.js';
import { parseJsonBody } from '../../src/http/json-body.js';
import { bearerToken, readV1, readV2, v2Answer, v2Json } from '../../src/http/signing-cert.js';
import type { Issued } from '../../src/issue.js';

const utf8 = (text: string): Uint8Array => Buffer.from(text);
const b64 = (text: string): string => Buffer.from(text).toString('base64');

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
  return 'no error';
}

describe('decodeBase64', () => {
  test.each([
    ['padded', 'aGk=', 'hi'],
    ['unpadded', 'aGk', 'hi'],
    ['url-safe', '-_8', '\xfb\xff'],
    ['with line ends, a multiple of four long', 'aGVs\r\nbG8=\r\n', 'hello'],
    ['empty', '', ''],
  ])('reads %s', (_name, text, expected) => {
    const bytes = decodeBase64(text);
    expect(bytes && Buffer.from(bytes).toString('latin1')).toBe(expected);
  });

  test.each(['a', 'aGk=x', '!!!!', 'aGk==', 'a+b_', 'aGVsbG8=\n'])('refuses %j', (text) => {
    expect(decodeBase64(text)).toBeUndefined();
  });

  test('reads back whatever was encoded, in all four spellings', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const standard = Buffer.from(bytes).toString('base64');
        for (const text of [standard, standard.replace(/=+$/, ''), Buffer.from(bytes).toString('base64url')]) {
          expect(Buffer.from(decodeBase64(text) ?? [0])).toEqual(Buffer.from(bytes));
        }
      }),
    );
  });
});

describe('readV2', () => {
  const body = (text: string) => parseJsonBody(utf8(text));

  test('takes the token of the body before the one in the header', () => {
    const request = readV2(body('{"credentials":{"oidcIdentityToken":"t1"}}'), 'Bearer t2');
    expect(request.token).toBe('t1');
  });

  test('accepts snake_case, null and unknown fields, and an algorithm that is not in the enum', () => {
    const request = readV2(
      body(
        `{"public_key_request":{"public_key":{"algorithm":"RSA","content":"PEM"},"proof_of_possession":"${b64('sig')}"},` +
          '"certificateSigningRequest":null,"more":{"x":[1]}}',
      ),
      'tok',
    );
    expect(request.key).toEqual({ kind: 'publicKey', key: 'PEM', proof: Buffer.from('sig') });
    expect(request.token).toBe('tok');
  });

  test.each([
    ['{"publicKeyRequest":"x"}'],
    ['{"publicKeyRequest":{"publicKey":{"content":5}}}'],
    ['{"publicKeyRequest":{"proofOfPossession":5}}'],
    ['{"publicKeyRequest":{"publicKey":{"algorithm":{}}}}'],
    ['{"certificateSigningRequest":"!!"}'],
    ['{"credentials":[]}'],
    [`{"publicKeyRequest":{},"certificateSigningRequest":"${b64('csr')}"}`],
    ['{"publicKeyRequest":{},"public_key_request":{}}'],
    ['[]'],
    ['"x"'],
    ['{"a":1}{"b":2}'],
    ['{"a":1,"a":2}'],
  ])('refuses %s as malformed', (text) => {
    expect(codeOf(() => readV2(body(text), undefined))).toBe('BODY_MALFORMED');
  });

  test('never throws anything but AppError, whatever the JSON', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(['no error', 'BODY_MALFORMED']).toContain(codeOf(() => readV2(body(text), undefined)));
        expect(['no error', 'BODY_MALFORMED']).toContain(codeOf(() => readV1(body(text), undefined)));
      }),
    );
  });
});

describe('readV1', () => {
  test('reads the key from base64 and the token from the header only', () => {
    const text = `{"publicKey":{"content":"${b64('PEM')}"},"signedEmailAddress":"${b64('s')}","certificateSigningRequest":null}`;
    expect(readV1(parseJsonBody(utf8(text)), 'Bearer  t')).toEqual({
      token: 't',
      key: { kind: 'publicKey', key: Buffer.from('PEM'), proof: Buffer.from('s') },
    });
  });
});

test.each([
  ['Bearer abc', 'abc'],
  ['bearer   abc ', 'abc'],
  ['abc', 'abc'],
  [undefined, ''],
])('bearerToken(%j) is %j', (header, token) => {
  expect(bearerToken(header)).toBe(token);
});

describe('v2Json', () => {
  const chains = [[], ['one\n'], ['-----BEGIN CERTIFICATE-----\nAA"\\==\n-----END CERTIFICATE-----\n', 'two\n']];

  test.each(chains.flatMap((chainPem) => [true, false].map((logged) => ({ chainPem, logged }))))(
    'is the text of v2Answer: chain of $chainPem.length, logged $logged',
    ({ chainPem, logged }) => {
      const ca = { chainPem };
      for (const length of [0, 47, 48, 49, 1000]) {
        const certificate = Buffer.alloc(length, 0xa5);
        const issued = { certificate, ca, scts: logged ? [] : undefined } as unknown as Issued;
        expect(v2Json(issued)).toBe(JSON.stringify(v2Answer(issued)));
      }
    },
  );
});
