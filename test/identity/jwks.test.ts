import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { parseDiscovery } from '../../src/identity/discovery.js';
import { parseJwks } from '../../src/identity/jwks.js';
import { ecKey, publicJwk, rsaKey } from './support.js';

const good = publicJwk(rsaKey, 'k1');
const skippedWith = (jwk: unknown) => parseJwks(JSON.stringify({ keys: [good, jwk] })).skipped;
const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
const p224 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey;

describe('parseJwks', () => {
  test('reads RSA, EC and Ed25519 keys with and without kid and alg', () => {
    const ed = generateKeyPairSync('ed25519').privateKey;
    const keys = [
      good,
      publicJwk(ecKey, 'e1', { alg: 'ES256', use: 'sig' }),
      publicJwk(ed, 'o1', { key_ops: ['verify'] }),
      { ...good, kid: undefined },
    ];
    const set = parseJwks(JSON.stringify({ keys, other: 1 }));
    expect(set.skipped).toEqual([]);
    expect(set.keys.map(({ keyId, algorithm, key }) => [keyId, algorithm, key.asymmetricKeyType])).toEqual([
      ['k1', undefined, 'rsa'],
      ['e1', 'ES256', 'ec'],
      ['o1', undefined, 'ed25519'],
      [undefined, undefined, 'rsa'],
    ]);
  });

  test.each([
    ['a shared secret', { kty: 'oct', k: 'AAAA' }, 'key 2: its "kty" is "oct"'],
    ['an encryption key', { ...good, use: 'enc' }, 'key 2: its "use" is "enc"'],
    ['a key to encrypt with', { ...good, key_ops: ['encrypt'] }, 'key 2: its "key_ops" have no "verify"'],
    ['an algorithm for encryption', { ...good, alg: 'RSA-OAEP' }, 'key 2: its "alg" is "RSA-OAEP"'],
    ['an algorithm of another key type', { ...good, alg: 'ES256' }, 'key 2: its "alg" ES256 is not for such a key'],
    [
      'a private key',
      rsaKey.export({ format: 'jwk' }),
      'key 2: it is a private key, which an issuer must never publish',
    ],
    ['RSA with 1024 bits', publicJwk(small, 's'), 'key 2: its RSA modulus has 1024 bits; expected 2048 to 8192'],
    ['an even exponent', { ...good, e: 'AQAA' }, 'key 2: its RSA exponent is even'],
    [
      'a point off the curve',
      { ...publicJwk(ecKey, 'e'), y: 'A'.repeat(43) },
      'key 2: its "EC" parameters are not a public key',
    ],
    ['no parameters', { kty: 'RSA' }, 'key 2: its "RSA" parameters are not a public key'],
    ['a number', 1, 'key 2: is 1; expected an object'],
  ])('skips %s', (_what, jwk, reason) => {
    expect(skippedWith(jwk)).toEqual([expect.stringContaining(reason)]);
  });

  test('a curve no algorithm is for verifies nothing', () => {
    const set = parseJwks(JSON.stringify({ keys: [publicJwk(p224, 'x', { alg: 'ES256' }), good] }));
    expect(set.keys.map(({ keyId }) => keyId)).toEqual(['k1']);
  });

  test.each([
    ['no JSON', 'keys', 'it is not valid JSON'],
    ['no object', '[]', 'it is not a JSON Web Key Set'],
    ['no list', '{"keys":{}}', 'it is not a JSON Web Key Set'],
    [
      'too many keys',
      JSON.stringify({ keys: Array.from({ length: 101 }, () => good) }),
      'it has 101 keys; expected at most 100',
    ],
    ['no key', '{"keys":[]}', 'it has no key that can verify a token'],
    [
      'only keys that do not fit',
      '{"keys":[{"kty":"oct"}]}',
      'it has no key that can verify a token (key 1: its "kty" is "oct")',
    ],
  ])('refuses %s', (_what, text, message) => {
    expect(() => parseJwks(text)).toThrow(message);
  });

  test('takes any JSON or says what is wrong with it', () => {
    const member = fc.constantFrom('kty', 'n', 'e', 'crv', 'x', 'y', 'use', 'alg', 'kid', 'd', 'key_ops');
    const value = fc.oneof(
      fc.constantFrom('RSA', 'EC', 'OKP', 'P-256', 'Ed25519', 'AQAB', 'sig', 'ES256', 'A'.repeat(342)),
      fc.jsonValue(),
    );
    const keys = fc.array(fc.dictionary(member, value), { maxLength: 4 });
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          keys.map((list) => JSON.stringify({ keys: [...list, good] })),
        ),
        (text) => {
          try {
            return parseJwks(text).keys.length > 0;
          } catch (error) {
            return error instanceof Error && error.message.startsWith('it ');
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('parseDiscovery', () => {
  const issuer = 'https://id.example.com';
  const parse = (fields: object, of = issuer) =>
    parseDiscovery(JSON.stringify({ issuer: of, jwks_uri: `${of}/k`, ...fields }), of);

  test.each([
    [undefined, ['RS256']],
    [[], ['RS256']],
    [['none', 'HS256'], ['RS256']],
    [
      ['RS256', 'ES256', 'none', 7],
      ['RS256', 'ES256'],
    ],
    [['EdDSA'], ['EdDSA', 'Ed25519']],
  ])('of the announced algorithms %j it allows %j', (announced, allowed) => {
    expect([...parse({ id_token_signing_alg_values_supported: announced }).algorithms]).toEqual(allowed);
  });

  test.each([
    [
      'another issuer',
      { issuer: 'https://evil.example' },
      'is for issuer "https://evil.example"; expected "https://id.example.com"',
    ],
    ['the issuer with a slash', { issuer: `${issuer}/` }, 'is for issuer "https://id.example.com/"'],
    ['no issuer', { issuer: undefined }, 'is for issuer missing'],
    ['no jwks_uri', { jwks_uri: undefined }, 'has the jwks_uri missing; expected an https URL'],
    [
      'keys over http',
      { jwks_uri: 'http://id.example.com/k' },
      'has the jwks_uri "http://id.example.com/k"; expected an https URL',
    ],
    ['keys in a file', { jwks_uri: 'file:///etc/passwd' }, 'expected an https URL'],
    ['keys behind a password', { jwks_uri: 'https://u:p@id.example.com/k' }, 'expected an https URL'],
  ])('refuses %s', (_what, fields, message) => {
    expect(() => parse(fields)).toThrow(message);
  });

  test('an http issuer may have its keys on http or https', () => {
    expect(parse({}, 'http://127.0.0.1:1').jwksUri.href).toBe('http://127.0.0.1:1/k');
    expect(parse({ jwks_uri: 'https://a.example/' }, 'http://127.0.0.1:1').jwksUri.href).toBe('https://a.example/');
  });
});
