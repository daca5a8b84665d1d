import { createHmac, generateKeyPairSync } from 'node:crypto';
import { b64, listen } from '../identity/support.js';
import { post } from '../support/client.js';
import {
  claims,
  closeAll,
  issuerUrl,
  jwt,
  type Lab,
  openLab,
  refusal,
  rsaPublicPem,
  seconds,
  v1Request,
} from './lab.js';

/** Forged, altered and overlong tokens against a running server. */

const header = { alg: 'RS256', kid: 'k1', typ: 'JWT' };

let lab: Lab;
beforeAll(async () => {
  const people = { 'client-id': 'sigstore', type: 'email', 'jwks-file': 'KEYS' };
  const users = { 'client-id': 'sigstore', type: 'username', 'subject-domain': 'example.com', 'jwks-file': 'KEYS' };
  lab = await openLab({ 'oidc-issuers': { [issuerUrl]: users, 'https://people.example.com': people } });
});
afterAll(closeAll);

const unsigned = (head: object): string => `${b64(head)}.${b64(claims())}.`;

function withHmac(): string {
  const input = `${b64({ alg: 'HS256', kid: 'k1' })}.${b64(claims())}`;
  return `${input}.${createHmac('sha256', rsaPublicPem).update(input).digest('base64url')}`;
}

test('the token that all of these are made from is accepted', async () => {
  const answer = await lab.ask(jwt(claims()));
  expect(answer).toMatchObject({ status: 200 });
});

test('4 MB of dots (CVE-2025-66506) are refused before any of them is looked at', async () => {
  const dots = '.'.repeat(4_000_000);
  expect(refusal(await lab.ask(dots), dots)).toMatch(
    /^400 TOKEN_TOO_LARGE: .* has 4000000 characters; expected at most/,
  );
  const answers = await Promise.all(Array.from({ length: 8 }, () => lab.ask(dots)));
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 400));
  expect((await lab.ask(jwt(claims()))).status).toBe(200);
});

test('a token of 60 KB is read wherever it comes, in the body or in the header of v1', async () => {
  const token = jwt(claims({ groups: Array.from({ length: 1_000 }, () => 'g'.repeat(40)) }));
  expect(token.length).toBeGreaterThan(50_000);
  expect((await lab.ask(token)).status).toBe(200);
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await post(`${lab.server.url}/api/v1/signingCert`, v1Request(), headers);
  expect(answer.status).toBe(201);
});

test('5 MB of body are refused, and the client gets to read why', async () => {
  const dots = '.'.repeat(5_000_000);
  expect(refusal(await lab.ask(dots), dots)).toMatch(/^400 BODY_TOO_LARGE: /);
});

test.each([
  ['alg none', () => unsigned({ alg: 'none' }), 'TOKEN_ALGORITHM_UNSUPPORTED', '"alg" is "none"'],
  ['alg None', () => unsigned({ alg: 'None', kid: 'k1' }), 'TOKEN_ALGORITHM_UNSUPPORTED', '"alg" is "None"'],
  ['RS256 without a signature', () => unsigned(header), 'TOKEN_MALFORMED', 'signature is empty'],
  ['HS256 keyed with the public key', withHmac, 'TOKEN_ALGORITHM_UNSUPPORTED', '"alg" is "HS256"'],
  [
    'another algorithm than the key is for',
    () => jwt(claims(), { ...header, alg: 'ES256' }),
    'TOKEN_KEY_UNKNOWN',
    'k1',
  ],
  [
    'a signature of another token',
    () => `${jwt(claims()).split('.').slice(0, 2).join('.')}.${jwt(claims({ sub: 'x' })).split('.')[2]}`,
    'TOKEN_SIGNATURE_INVALID',
    'does not verify',
  ],
  [
    'an extension that must be understood',
    () => jwt(claims(), { ...header, crit: ['b64'], b64: false }),
    'TOKEN_HEADER_UNSUPPORTED',
    '"crit"',
  ],
])('%s is refused', async (_what, make, reason, part) => {
  const token = make();
  const text = refusal(await lab.ask(token), token);
  expect(text).toContain(`400 ${reason}: There was an error processing the identity token`);
  expect(text).toContain(part);
});

describe("a token of an attacker's own key", () => {
  const attacker = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = { ...attacker.publicKey.export({ format: 'jwk' }), kid: 'evil', alg: 'RS256' };

  test.each(['jku', 'x5u'])('with a %s header makes the server ask nobody', async (name) => {
    const evil = await listen((_request, response) => response.end(JSON.stringify({ keys: [jwk] })));
    try {
      const token = jwt(claims(), { ...header, kid: 'evil', [name]: `${evil.url}/keys` }, attacker.privateKey);
      expect(refusal(await lab.ask(token), token)).toMatch(/^400 TOKEN_KEY_UNKNOWN: /);
      expect(evil.requests).toEqual([]);
    } finally {
      await evil.close();
    }
  });

  test.each([
    ['jwk', 'its kid', { kid: 'evil', jwk }, 'TOKEN_KEY_UNKNOWN'],
    ['jwk', "the issuer's kid", { jwk }, 'TOKEN_SIGNATURE_INVALID'],
    ['jwk', 'no kid', { kid: undefined, jwk }, 'TOKEN_SIGNATURE_INVALID'],
    ['x5c', "the issuer's kid", { x5c: ['MIIB'] }, 'TOKEN_SIGNATURE_INVALID'],
  ])('with a %s header and %s is refused', async (_name, _kid, fields, reason) => {
    const token = jwt(claims(), { ...header, ...fields }, attacker.privateKey);
    expect(refusal(await lab.ask(token), token)).toContain(`400 ${reason}: `);
  });
});

const text = JSON.stringify(claims());
test.each([
  ['sub twice', text.replace('{', '{"sub":"root",')],
  ['sub twice, once escaped', text.replace('{', '{"\\u0073ub":"root",')],
  ['aud twice', text.replace('}', ',"aud":"other"}')],
  ['a key twice in a nested object', text.replace('}', ',"x":{"a":1,"a":2}}')],
  ['a byte order mark', `\ufeff${text}`],
  ['a second value after it', `${text}{}`],
  ['half a surrogate pair', text.replace('user-1', '\\ud800')],
])('a payload with %s has no reading at all', async (_what, payload) => {
  const token = jwt(payload);
  expect(refusal(await lab.ask(token), token)).toMatch(/^400 TOKEN_MALFORMED: /);
});

test('a header with alg twice has no reading at all', async () => {
  const token = jwt(claims(), '{"alg":"RS256","kid":"k1","alg":"none"}');
  expect(refusal(await lab.ask(token), token)).toMatch(/^400 TOKEN_MALFORMED: .*"alg" twice/);
});

test('a token has one spelling: padding, other base64 and a flipped spare bit are refused', async () => {
  const token = jwt(claims());
  const [head = '', payload = '', signature = ''] = token.split('.');
  const spare = signature.slice(0, -1) + String.fromCharCode(signature.charCodeAt(signature.length - 1) + 1);
  for (const other of [`${head}=.${payload}.${signature}`, `${token}==`, `${head}.${payload}.${spare}`, `${token}.`]) {
    expect(refusal(await lab.ask(other), other)).toMatch(/^400 TOKEN_(MALFORMED|SIGNATURE_INVALID): /);
  }
});

test.each([
  ['no exp', { exp: undefined }, 'TOKEN_EXPIRY_MISSING'],
  ['an exp of null', { exp: null }, 'TOKEN_EXPIRY_MISSING'],
  ['an exp as text', { exp: '9999999999' }, 'CLAIM_INVALID'],
  ['an exp in milliseconds', { exp: Date.now() * 1000 }, 'CLAIM_INVALID'],
  ['an exp of now', { exp: seconds() }, 'TOKEN_EXPIRED'],
  ['nbf in an hour', { nbf: seconds() + 3_600 }, 'TOKEN_NOT_YET_VALID'],
  ['nbf in a thousand years', { nbf: seconds() + 31_536_000_000 }, 'TOKEN_NOT_YET_VALID'],
  ['iat in an hour', { iat: seconds() + 3_600 }, 'TOKEN_ISSUED_IN_FUTURE'],
  ['another audience', { aud: 'other' }, 'TOKEN_AUDIENCE_MISMATCH'],
  ['an audience that begins like ours', { aud: 'sigstore.evil.example' }, 'TOKEN_AUDIENCE_MISMATCH'],
  ['audiences without ours', { aud: ['a', 'b'] }, 'TOKEN_AUDIENCE_MISMATCH'],
  ['no audience in an array', { aud: [] }, 'TOKEN_AUDIENCE_MISMATCH'],
  ['an audience inside an array inside an array', { aud: [['sigstore']] }, 'TOKEN_AUDIENCE_MISMATCH'],
  ['an audience that is an object', { aud: { sigstore: true } }, 'TOKEN_AUDIENCE_MISMATCH'],
  ['no audience', { aud: undefined }, 'TOKEN_AUDIENCE_MISMATCH'],
])('%s is refused', async (_what, changed, reason) => {
  const token = jwt(claims(changed));
  expect(refusal(await lab.ask(token), token)).toContain(`400 ${reason}: `);
});

test('our audience among others is accepted, as Fulcio does', async () => {
  expect((await lab.ask(jwt(claims({ aud: ['other', 'sigstore'] })))).status).toBe(200);
});

test.each([
  ['"false"', 'false'],
  ['"TRUE"', 'TRUE'],
  ['false', false],
  ['1', 1],
  ['["true"]', ['true']],
  ['missing', undefined],
])('email_verified %s is not true', async (_what, email_verified) => {
  const email = 'jane@example.com';
  const token = jwt(claims({ iss: 'https://people.example.com', email, email_verified }));
  expect(refusal(await lab.ask(token, email), token)).toMatch(/^400 EMAIL_NOT_VERIFIED: /);
});

test('a claim in another case does not count for the claim', async () => {
  const token = jwt(claims({ iss: 'https://people.example.com', Email: 'ceo@example.com', email_verified: true }));
  expect(refusal(await lab.ask(token, 'ceo@example.com'), token)).toMatch(/^400 CLAIM_MISSING: /);
});
