import { claims, closeAll, jwt, type Lab, leafOf, openLab, refusal, sanOf } from './lab.js';

/** Claims that try to become another identity, against a running server. */

const ci = 'https://ci.example.com';
const fixed = 'https://fixed.example.com';
const pods = 'https://kubernetes.example.com';
const jobs = 'https://jobs.example.com';
const users = 'https://users.example.com';

const templates = {
  'default-template-values': { url: 'https://git.example.com' },
  'extension-templates': { 'source-repository-uri': '{{ .url }}/{{ .repository }}', 'build-trigger': 'event' },
  'subject-alternative-name-template': '{{ .url }}/{{ .repository }}@{{ .ref }}',
};
const file = { 'client-id': 'sigstore', 'jwks-file': 'KEYS' };

let lab: Lab;
beforeAll(async () => {
  lab = await openLab({
    'oidc-issuers': {
      [ci]: { ...file, type: 'ci-provider', 'ci-provider': 'plain' },
      [fixed]: { ...file, type: 'ci-provider', 'ci-provider': 'fixed' },
      [pods]: { ...file, type: 'kubernetes' },
      [jobs]: { ...file, type: 'uri', 'subject-domain': jobs },
      [users]: { ...file, type: 'username', 'subject-domain': 'example.com' },
    },
    'ci-issuer-metadata': {
      plain: templates,
      fixed: {
        ...templates,
        'default-template-values': {},
        'fixed-template-values': { url: 'https://git.example.com' },
      },
    },
  });
});
afterAll(closeAll);

const job = (changed: object) =>
  claims({ iss: ci, repository: 'team/app', ref: 'refs/heads/main', event: 'push', ...changed });
const pod = (namespace: unknown, name: unknown) =>
  claims({ iss: pods, 'kubernetes.io': { namespace, serviceaccount: { name } } });

async function refused(payload: object, challenge?: string): Promise<string> {
  const token = jwt(payload);
  return refusal(await lab.ask(token, challenge), token);
}

test('an honest job gets the identity that its templates say', async () => {
  expect(sanOf(await lab.ask(jwt(job({}))))).toBe('https://git.example.com/team/app@refs/heads/main');
});

test('a claim shadows a default-template-value, as in Fulcio', async () => {
  expect(sanOf(await lab.ask(jwt(job({ url: 'https://evil.example' }))))).toMatch(/^https:\/\/evil\.example\//);
});

test('no claim shadows a fixed-template-value', async () => {
  const answer = await lab.ask(jwt(job({ iss: fixed, url: 'https://evil.example' })));
  expect(sanOf(answer)).toBe('https://git.example.com/team/app@refs/heads/main');
  expect(
    Buffer.from(
      leafOf(answer)
        .extensions.map(({ value }) => Buffer.from(value).toString('latin1'))
        .join(),
    ),
  ).not.toContain('evil');
});

test.each([
  ['NUL', 'team/app\u0000.evil'],
  ['a newline', 'team/app\nX: y'],
  ['a carriage return', 'team/app\r'],
  ['DEL', 'team\u007f/app'],
  ['a broken escape', 'team/app%zz'],
  ['a % at its end', 'team/app%'],
])('a claim with %s does not become part of a URI', async (_what, repository) => {
  expect(await refused(job({ repository }))).toMatch(/^400 (SUBJECT_INVALID|CLAIM_INVALID): /);
});

test('a claim with NUL does not become an extension either', async () => {
  expect(await refused(job({ event: 'push\u0000pull' }))).toMatch(/^400 CLAIM_INVALID: .*NUL/);
});

test.each([
  ['non-ASCII', 'teäm/app', 'https://git.example.com/te%C3%A4m/app@refs/heads/main'],
  ['a right-to-left override', 'team/\u202eppa', 'https://git.example.com/team/%E2%80%AEppa@refs/heads/main'],
  ['a space', 'team/a b', 'https://git.example.com/team/a%20b@refs/heads/main'],
  ['an escape', 'team/a%2Fb', 'https://git.example.com/team/a%2Fb@refs/heads/main'],
  ['#', 'team/app#x', 'https://git.example.com/team/app#x@refs/heads/main'],
])('a claim with %s becomes ASCII, as in Fulcio', async (_what, repository, san) => {
  expect(sanOf(await lab.ask(jwt(job({ repository }))))).toBe(san);
});

test.each([
  ['a list', ['team/app']],
  ['an object', { a: 1 }],
  ['null', null],
  ['missing', undefined],
])('a claim that is %s fills no template', async (_what, repository) => {
  expect(await refused(job({ repository }))).toMatch(/^400 CLAIM_(INVALID|MISSING): /);
});

test.each([
  ['build/serviceaccounts/root', 'x'],
  ['build', '../../other/serviceaccounts/root'],
  ['build', 'a#'],
  ['build', 'a?b'],
  ['build', 'a%2fb'],
  ['', 'a'],
  ['build', undefined],
  [['build'], 'a'],
])('the service account %j/%j does not pose as another', async (namespace, name) => {
  expect(await refused(pod(namespace, name))).toMatch(/^400 (CLAIM_INVALID|CLAIM_MISSING|SUBJECT_INVALID): /);
});

test.each([
  'https://jobs.example.com.evil.example/x',
  'https://jobs.example.com@evil.example/x',
  'https://user@jobs.example.com/x',
  'https://evil.example/?https://jobs.example.com/x',
  'https://jobs.example.com\\@evil.example/x',
  'http://jobs.example.com/x',
  '//jobs.example.com/x',
  'https://jobs.example.com/\u0000',
  'https://jobs.example.com/%',
])('the subject %j is outside of the subject-domain', async (sub) => {
  expect(await refused(claims({ iss: jobs, sub }), sub)).toMatch(/^400 SUBJECT_INVALID: /);
});

test.each(['ceo!other.example', 'a@b.example', 'a\u0000b', 'a\nb'])('%j is no user name', async (sub) => {
  expect(await refused(claims({ iss: users, sub }), sub)).toMatch(/^400 (SUBJECT_INVALID|CLAIM_INVALID): /);
});

test('a token without sub proves nothing, so it gets nothing', async () => {
  expect(await refused(job({ sub: undefined }), '')).toMatch(/^400 CLAIM_MISSING: /);
  expect(await refused(job({ sub: '' }), '')).toMatch(/^400 CLAIM_INVALID: /);
});

test('a proof over another claim is not a proof of possession', async () => {
  expect(await refused(job({}), 'team/app')).toMatch(/^400 PROOF_INVALID: /);
});
