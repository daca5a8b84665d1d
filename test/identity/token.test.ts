import { createHmac, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { SignJWT } from 'jose';
import { AppError } from '../../src/errors.js';
import { parseToken } from '../../src/identity/token.js';
import {
  authenticate,
  b64,
  everyIssuer,
  failureOf,
  header,
  now,
  offlineIssuers,
  publicJwk,
  rsaKey,
  signedToken,
  times,
  token,
} from './support.js';

const iss = 'https://id.example.com';
const yaml = `oidc-issuers:\n  ${iss}:\n    client-id: sigstore\n    type: email\n`;
const jane = { iss, sub: 'u1', email: 'jane@example.com', email_verified: true };
const claims = { aud: 'sigstore', ...times, ...jane };
const check = (jwt: string) => failureOf(() => authenticate(jwt, offlineIssuers(yaml)));
const accepts = async (jwt: string) => expect((await authenticate(jwt, offlineIssuers(yaml))).subject).toBe('u1');

describe('a token is accepted', () => {
  test.each([
    ['as it should be', token(jane)],
    ['with white space around it', ` \n${token(jane)}\r\n`],
    ['without a kid', token(jane, { alg: 'RS256' })],
    ['with an empty kid', token(jane, { alg: 'RS256', kid: '' })],
    ['with the typ at+jwt', token(jane, { ...header, typ: 'at+jwt' })],
    ['for several audiences', token({ ...jane, aud: ['other', 'sigstore'] })],
    ['with fractions of seconds', token({ ...jane, exp: now + 0.5, iat: now - 0.25 })],
    ['without iat and nbf', token({ ...jane, iat: undefined, nbf: undefined })],
    ['with nbf five minutes ahead', token({ ...jane, nbf: now + 300 })],
    ['with email_verified as a string', token({ ...jane, email_verified: 'true' })],
    [
      'with keys of its own offered in the header, which are not looked at',
      token(jane, { ...header, jku: 'https://evil.example/keys', x5u: 'x', jwk: { kty: 'oct' } }),
    ],
    ['with text that only looks like half a surrogate pair', token({ ...jane, note: '\\ud800', pair: '\ud83d\ude00' })],
  ])('%s', (_how, jwt) => accepts(jwt));
});

const otherKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const pem = rsaKey.export({ format: 'pem', type: 'pkcs8' });
const hs256 = (input: string) => `${input}.${createHmac('sha256', pem).update(input).digest('base64url')}`;
const good = token(jane);
const cut = (text: string, by: number) => text.slice(0, text.length - by);
const withSignature = (signature: string) => `${good.slice(0, good.lastIndexOf('.'))}.${signature}`;
const raw = (text: string) => Buffer.from(text).toString('base64url');

describe('a token is refused', () => {
  test.each([
    ['that is empty', '', 'TOKEN_MISSING: no identity token was given'],
    ['that is white space', ' \n', 'TOKEN_MISSING'],
    ['of one word', 'garbage', 'TOKEN_MALFORMED: the token is not a JWT; expected three segments'],
    [
      'of 4 MB of dots (CVE-2025-66506)',
      '.'.repeat(4_000_000),
      'TOKEN_TOO_LARGE: the token has 4000000 characters; expected at most 65536',
    ],
    ['of 64 KiB of dots', '.'.repeat(65_536), 'TOKEN_MALFORMED'],
    ['of four segments', `${good}.x`, 'TOKEN_MALFORMED'],
    ['without a signature', withSignature(''), "TOKEN_MALFORMED: the token's signature is empty"],
    ['with padding', withSignature('AA=='), "TOKEN_MALFORMED: the token's signature is not base64url"],
    ['in ordinary base64', withSignature('+/AA'), "TOKEN_MALFORMED: the token's signature is not base64url"],
    [
      'with bits left over in the last character',
      withSignature('AB'),
      "TOKEN_MALFORMED: the token's signature is not base64url",
    ],
    ['with a line break inside', good.replace('.', '.\n'), 'TOKEN_MALFORMED'],
    [
      'with a payload that is no JSON',
      `${b64(header)}.${raw('nope')}.AA`,
      "TOKEN_MALFORMED: the token's payload is not JSON of one reading: it has a syntax error",
    ],
    ['with a payload that is a list', signedToken(header, '[1]'), "TOKEN_MALFORMED: the token's payload is an array"],
    [
      'with invalid UTF-8',
      `${b64(header)}.${Buffer.from([0x7b, 0xff, 0x7d]).toString('base64url')}.AA`,
      "TOKEN_MALFORMED: the token's payload is not valid UTF-8",
    ],
    [
      'with half a surrogate pair',
      signedToken(header, JSON.stringify(claims).replace('u1', '\\ud800')),
      "TOKEN_MALFORMED: the token's payload has half a surrogate pair",
    ],
    [
      'with a claim twice',
      signedToken(header, JSON.stringify(claims).replace('{', '{"email":"eve@example.com",')),
      'TOKEN_MALFORMED: the token\'s payload is not JSON of one reading: it has the key "email" twice',
    ],
    [
      'with a claim twice, once escaped',
      signedToken(header, JSON.stringify(claims).replace('{', '{"\\u0065mail":"eve@example.com",')),
      'it has the key "email" twice',
    ],
    [
      'with a nested claim twice',
      signedToken(header, JSON.stringify({ ...claims, a: 1 }).replace('"a":1', '"a":[{"b":1,"b":2}]')),
      'it has the key "b" twice',
    ],
    [
      'with alg twice',
      signedToken('{"alg":"RS256","alg":"none"}', claims),
      "TOKEN_MALFORMED: the token's header is not JSON",
    ],
    ['nested 10,000 deep', signedToken(header, `{"a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`), 'nested more than'],
    ['with alg none', `${b64({ alg: 'none' })}.${b64(claims)}.`, 'TOKEN_'],
    [
      'with alg none and a signature',
      signedToken({ alg: 'none' }, claims),
      'TOKEN_ALGORITHM_UNSUPPORTED: the token\'s "alg" is "none"',
    ],
    ['with alg NONE', signedToken({ alg: 'NONE' }, claims), 'TOKEN_ALGORITHM_UNSUPPORTED'],
    ['without alg', signedToken({ kid: 'k1' }, claims), 'TOKEN_ALGORITHM_UNSUPPORTED: the token\'s "alg" is missing'],
    [
      'with an alg that is a name of Object.prototype',
      signedToken({ alg: 'constructor' }, claims),
      'TOKEN_ALGORITHM_UNSUPPORTED',
    ],
    [
      'with HS256 keyed with the public key',
      hs256(`${b64({ alg: 'HS256', kid: 'k1' })}.${b64(claims)}`),
      'TOKEN_ALGORITHM_UNSUPPORTED: the token\'s "alg" is "HS256"',
    ],
    [
      'with crit',
      token(jane, { ...header, crit: ['x'], x: 1 }),
      'TOKEN_HEADER_UNSUPPORTED: the token\'s header has "crit"',
    ],
    ['with a kid that is a number', token(jane, { ...header, kid: 1 }), 'TOKEN_MALFORMED: the token\'s "kid" is 1'],
    ['without iss', token({ ...jane, iss: undefined }), 'ISSUER_MISSING: the token\'s claim "iss" is missing'],
    ['with an iss that is a list', token({ ...jane, iss: [iss] }), 'ISSUER_MISSING'],
    [
      'of an unknown issuer',
      token({ ...jane, iss: 'https://evil.example' }),
      'ISSUER_UNKNOWN: issuer "https://evil.example" is not configured',
    ],
    ['of an issuer with a slash too many', token({ ...jane, iss: `${iss}/` }), 'the slash at the end counts'],
    [
      'signed by another key under the same kid',
      token(jane).replace(/[^.]+$/, signedToken(header, claims, otherKey).split('.')[2] ?? ''),
      'TOKEN_SIGNATURE_INVALID: the token\'s RS256 signature does not verify under key "k1"',
    ],
    ['with a signature that is cut', cut(good, 2), 'TOKEN_'],
    [
      'with another payload under the same signature',
      good.replace(b64(claims), b64({ ...claims, sub: 'root' })),
      'TOKEN_SIGNATURE_INVALID',
    ],
    [
      'with a kid the issuer does not publish',
      token(jane, { ...header, kid: 'k9' }),
      'TOKEN_KEY_UNKNOWN: issuer "https://id.example.com" publishes no key with the "kid" "k9"',
    ],
    [
      'with an algorithm the issuer does not announce',
      token(jane, { ...header, alg: 'RS512' }),
      'TOKEN_ALGORITHM_UNSUPPORTED: the token\'s "alg" is RS512; issuer "https://id.example.com" announces RS256',
    ],
    [
      'for somebody else',
      token({ ...jane, aud: 'foo' }),
      'TOKEN_AUDIENCE_MISMATCH: token audience is "foo"; this issuer expects "sigstore"',
    ],
    ['for several others', token({ ...jane, aud: ['a', 'b'] }), 'token audience is ["a", "b"]; this issuer expects'],
    ['for a part of the audience', token({ ...jane, aud: 'sigstore2' }), 'TOKEN_AUDIENCE_MISMATCH'],
    [
      'for an audience inside an object',
      token({ ...jane, aud: { sigstore: 'sigstore' } }),
      'TOKEN_AUDIENCE_MISMATCH: token audience is an object',
    ],
    ['that expired', token({ ...jane, exp: now - 35 }), 'TOKEN_EXPIRED: token expired 35 s ago'],
    ['that expires this moment', token({ ...jane, exp: now }), 'TOKEN_EXPIRED'],
    ['without exp', token({ ...jane, exp: undefined }), 'TOKEN_EXPIRY_MISSING'],
    [
      'with exp as text',
      token({ ...jane, exp: String(now + 60) }),
      'CLAIM_INVALID: claim "exp" is "1800000060"; expected seconds since 1970',
    ],
    ['with exp in milliseconds', token({ ...jane, exp: now * 1000 }), 'CLAIM_INVALID: claim "exp"'],
    [
      'with an exp beyond all numbers',
      signedToken(header, JSON.stringify(claims).replace(/"exp":\d+/, '"exp":1e999')),
      'CLAIM_INVALID: claim "exp" is Infinity',
    ],
    ['with nbf an hour ahead', token({ ...jane, nbf: now + 3600 }), 'TOKEN_NOT_YET_VALID'],
    ['with nbf just over five minutes ahead', token({ ...jane, nbf: now + 301 }), 'TOKEN_NOT_YET_VALID'],
    ['issued an hour ahead', token({ ...jane, iat: now + 3600 }), 'TOKEN_ISSUED_IN_FUTURE'],
    ['with a sub that is a number', token({ ...jane, sub: 1 }), 'CLAIM_INVALID: claim "sub" is 1'],
    [
      'with email_verified "false"',
      token({ ...jane, email_verified: 'false' }),
      'EMAIL_NOT_VERIFIED: claim "email_verified" is "false"; expected true',
    ],
    [
      'with a claim name in another case',
      token({ ...jane, email: undefined, Email: 'jane@example.com' }),
      'CLAIM_MISSING: the token has no claim "email"',
    ],
  ])('%s', async (_what, jwt, expected) => {
    expect(await check(jwt)).toContain(expected);
  });

  test('with a message that holds nothing of the token beyond the value it complains about', async () => {
    const secret = token({ ...jane, aud: 'foo', secret: 'hush' });
    const message = await check(secret);
    expect(message).not.toContain('hush');
    expect(message).not.toContain(secret.slice(0, 20));
  });

  test('with text from it shortened and escaped', async () => {
    const message = await check(token({ ...jane, aud: `${'x'.repeat(500)}` }));
    expect(message.length).toBeLessThan(250);
    expect(await check(token({ ...jane, iss: 'https://a\n\u001b[31m"b"' }))).toContain(
      '"https://a\\u000a\\u001b[31m\\"b\\""',
    );
  });
});

describe('verifyToken agrees with jose on', () => {
  const rsaPss = (alg: string) => ({ alg, pair: { privateKey: rsaKey } });
  test.each([
    rsaPss('RS256'),
    rsaPss('RS384'),
    rsaPss('RS512'),
    rsaPss('PS256'),
    rsaPss('PS384'),
    rsaPss('PS512'),
    { alg: 'ES256', pair: generateKeyPairSync('ec', { namedCurve: 'P-256' }) },
    { alg: 'ES384', pair: generateKeyPairSync('ec', { namedCurve: 'P-384' }) },
    { alg: 'ES512', pair: generateKeyPairSync('ec', { namedCurve: 'P-521' }) },
    { alg: 'EdDSA', pair: generateKeyPairSync('ed25519') },
  ])('$alg', async ({ alg, pair }) => {
    const jwt = await new SignJWT(claims).setProtectedHeader({ alg, kid: 'k' }).sign(pair.privateKey);
    const fetcher = everyIssuer({ keys: [publicJwk(pair.privateKey, 'k')] });
    const listing = {
      get: async (url: URL) => {
        const text = await fetcher.get(url);
        return url.pathname.endsWith('/keys')
          ? text
          : JSON.stringify({ ...JSON.parse(text), id_token_signing_alg_values_supported: [alg] });
      },
    };
    expect((await authenticate(jwt, offlineIssuers(yaml, { fetcher: listing }))).san.value).toBe('jane@example.com');
    const broken = jwt.slice(0, -8) + (jwt.endsWith('AAAAAAAA') ? 'BAAAAAAA' : 'AAAAAAAA');
    expect(await failureOf(() => authenticate(broken, offlineIssuers(yaml, { fetcher: listing })))).toMatch(/^TOKEN_/);
  });
});

describe('parseToken', () => {
  const isAppError = (work: () => unknown): boolean => {
    try {
      work();
      return true;
    } catch (error) {
      return error instanceof AppError && error.code !== 'INTERNAL';
    }
  };

  test('takes any text or refuses it', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.base64String(),
          fc.array(fc.constantFrom('.', 'A', 'eyJ', '=', '-', ' ')).map((parts) => parts.join('')),
        ),
        (text) => isAppError(() => parseToken(text)),
      ),
      { numRuns: 2000 },
    );
  });

  test('takes any header and payload or refuses them', () => {
    const json = fc.oneof(
      fc.json(),
      fc.jsonValue().map((value) => JSON.stringify({ iss: 'x', ...(value as object) })),
    );
    fc.assert(
      fc.property(json, json, (head, payload) => isAppError(() => parseToken(`${raw(head)}.${raw(payload)}.AAAA`))),
      { numRuns: 2000 },
    );
  });

  test('a token with one bit changed is never accepted as another', async () => {
    const issuers = offlineIssuers(yaml);
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 0, max: 6 }), async (index, bit) => {
        const changed =
          good.slice(0, index) + String.fromCharCode(good.charCodeAt(index) ^ (1 << bit)) + good.slice(index + 1);
        await expect(failureOf(() => authenticate(changed, issuers))).resolves.toMatch(/^[A-Z_]+: /);
      }),
      { numRuns: 300 },
    );
  });
});
