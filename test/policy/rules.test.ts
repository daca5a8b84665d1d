import { parseIdentityConfig } from '../../src/config/identity.js';
import { decide } from '../../src/policy/rules.js';
import { policySubject } from '../../src/policy/subject.js';
import { keyAlgorithmNames } from '../../src/proof/key-algorithms.js';
import { decision, holds, usualSan } from './support.js';

const yes = { allow: true, deny: true };
const no = { allow: false, deny: false };
/** A claim that cannot be decided helps no allow rule and counts for every deny rule. */
const undecided = { allow: false, deny: true };

describe('a condition on a claim', () => {
  test.each([
    ['an exact value', 'main', 'main', yes],
    ['another value', 'main', 'dev', no],
    ['another case', 'main', 'Main', no],
    ['a value with a space behind it', 'main', 'main ', no],
    ['an empty value', 'main', '', no],
    ['one of a list', ['dev', 'main'], 'main', yes],
    ['none of a list', ['dev', 'main'], 'prod', no],
    ['a number', 7, 7, yes],
    ['another number', 7, 8, no],
    ['a number where text is expected', '7', 7, undecided],
    ['text where a number is expected', 7, '7', undecided],
    ['a boolean where text is expected', 'true', true, undecided],
    ['text where a boolean is expected', true, 'true', undecided],
    ['true', true, true, yes],
    ['false where true is expected', true, false, no],
    ['null', 'main', null, undecided],
    ['an array', 'main', ['main'], undecided],
    ['an object', 'main', { main: 'main' }, undecided],
    ['a number as text, if asked', { equals: '7', 'as-text': true }, 7, yes],
    ['a boolean as text, if asked', { equals: 'true', 'as-text': true }, true, yes],
    ['an array as text, even if asked', { equals: 'a', 'as-text': true }, ['a'], undecided],
    ['a number beyond 2^53', { equals: '9007199254740993', 'as-text': true }, 2 ** 53, undecided],
    ['another case, if asked', { equals: 'Main', 'ignore-case': true }, 'mAIN', yes],
    ['a glob', { glob: 'refs/tags/v*' }, 'refs/tags/v1.2', yes],
    ['a glob whose star meets a slash', { glob: 'refs/*' }, 'refs/tags/v1', no],
    ['a glob with two stars', { glob: 'refs/**' }, 'refs/tags/v1', yes],
    ['a glob with two stars in the middle', { glob: 'a/**/z' }, 'a/b/c/z', yes],
    ['a glob with two stars over line breaks', { glob: 'a**z' }, 'a\n\nz', yes],
    ['a glob that ends before the text does', { glob: 'v?' }, 'v10', no],
    ['a glob with a quoted star', { glob: 'v\\*' }, 'v*', yes],
    ['a glob with a quoted star and other text', { glob: 'v\\*' }, 'v1', no],
    ['regular expression characters in a glob', { glob: 'a.b+(c)*' }, 'a.b+(c)d', yes],
    ['a dot of a glob for any character', { glob: 'a.b*' }, 'axb', no],
    ['a glob without regard to case', { glob: 'Refs/*', 'ignore-case': true }, 'rEFS/x', yes],
    ['one of several globs', { glob: ['a*', 'b*'] }, 'bc', yes],
    ['a regular expression', { regex: 'v[0-9]+' }, 'v12', yes],
    ['text around a match', { regex: 'v[0-9]+' }, 'xv12', no],
    ['a line around a match', { regex: 'v[0-9]+' }, 'v12\n', no],
    ['a match on one line of several', { regex: '(?m)^v1$' }, 'x\nv1\ny', no],
    ['an alternative, anchored as a whole', { regex: 'a|b' }, 'ac', no],
    ['values and patterns mixed', ['main', { glob: 'release/*' }, { regex: 'v\\d+' }], 'v3', yes],
    ['none of values and patterns', ['main', { glob: 'release/*' }], 'x', no],
    ['an element of an array', { any: 'staff' }, ['users', 'staff'], yes],
    ['no element of an array', { any: 'staff' }, ['users'], no],
    ['an empty array', { any: 'staff' }, [], no],
    ['an element by pattern', { any: { glob: 'team-*' } }, ['users', 'team-a'], yes],
    ['text where an array is expected', { any: 'staff' }, 'staff', undecided],
    ['an element that is an array itself', { any: 'staff' }, [['staff']], undecided],
  ])('meets %s', (_what, condition, value, expected) => {
    expect(holds({ claims: { c: condition } }, { c: value })).toEqual(expected);
  });

  test.each([
    ['a Cyrillic letter', 'admin', 'аdmin', no],
    ['fullwidth letters', 'admin', 'ａdmin', no],
    ['an invisible character', 'admin', 'ad\u200bmin', no],
    ['a ligature', 'office', 'o\ufb03ce', no],
    ['the Kelvin sign, which is another spelling of K', 'K', '\u212a', undecided],
    ['the Kelvin sign, case ignored', { equals: 'k', 'ignore-case': true }, '\u212a', undecided],
    ['the long s, case ignored', { equals: 's', 'ignore-case': true }, '\u017f', no],
    ['the long s in a pattern, case ignored', { regex: '.*s', 'ignore-case': true }, 'a\u017f', undecided],
    ['a dotless i, case ignored', { equals: 'i', 'ignore-case': true }, 'İ', no],
    ['sharp s', 'strasse', 'straße', no],
    ['the same accent, composed', 'Zoë', 'Zo\u00eb', yes],
    ['the same accent, decomposed', 'Zoë', 'Zoe\u0308', undecided],
    ['text that is not in NFC under a glob', { glob: '*' }, 'Zoe\u0308', undecided],
  ])('does not take %s for what it looks like', (_what, condition, value, expected) => {
    expect(holds({ claims: { c: condition } }, { c: value })).toEqual(expected);
  });

  test.each([
    ['a missing claim', 'ref', {}, undecided],
    ['a path', '$.a.b', { a: { b: 'x' } }, yes],
    ['a path with quotes', '$["kubernetes.io"].namespace', { 'kubernetes.io': { namespace: 'x' } }, yes],
    ['a path that ends early', '$.a.b', { a: 'x' }, undecided],
    ['a path into an array', '$.a.length', { a: ['x'] }, undecided],
    ['a name with dots, which is no path', 'a.b', { a: { b: 'x' } }, undecided],
    ['a name with dots as it is', 'a.b', { 'a.b': 'x' }, yes],
    ['__proto__, which the token has', '__proto__', JSON.parse('{"__proto__":"x"}'), yes],
    ['__proto__, which every object has', '__proto__', {}, undecided],
    ['constructor', 'constructor', {}, undecided],
    ['a path to what every object has', '$.constructor.name', {}, undecided],
    ['toString', '$.a.toString', { a: {} }, undecided],
  ])('names claims exactly: %s', (_what, name, claims, expected) => {
    expect(holds({ claims: { [name]: 'x' } }, claims)).toEqual(expected);
  });

  test('of a deny rule passes over a missing claim where the rule says so', () => {
    const rule = (missing: string) => ({ deny: [{ name: 'r', claims: { env: { equals: 'prod', missing } } }] });
    expect(decision(rule('no-match'), {})).toBe('allowed by none');
    expect(decision(rule('no-match'), { env: 'prod' })).toBe('denied by r');
    expect(decision(rule('match'), {})).toBe('denied by r');
  });

  test('that differs settles a deny rule whose other claims are missing', () => {
    const deny = [{ name: 'r', claims: { gone: 'x', ref: 'main' } }];
    expect(decision({ deny }, { ref: 'dev' })).toBe('allowed by none');
    expect(decision({ deny }, { ref: 'main' })).toBe('denied by r');
  });
});

describe('a condition on the SAN', () => {
  test.each([
    [{ san: { glob: 'https://issuer.example.com/jobs/*' } }, true],
    [{ san: { glob: 'https://issuer.example.com/*' } }, false],
    [{ san: usualSan.value, 'san-type': 'uri' }, true],
    [{ 'san-type': ['email', 'username'] }, false],
  ])('%j', (conditions, expected) => {
    expect(holds(conditions, {})).toEqual({ allow: expected, deny: expected });
  });
});

describe('the rules of an issuer', () => {
  const main = { name: 'main', claims: { ref: 'main' } };
  const push = { name: 'push', claims: { event: 'push' } };

  test.each([
    ['no rules, default allow', {}, 'allow', 'allowed by none'],
    ['no rules, default deny', {}, 'deny', 'denied by none'],
    ['its own default', { 'policy-default': 'deny' }, 'allow', 'denied by none'],
    ['its own default, the other way', { 'policy-default': 'allow' }, 'deny', 'allowed by none'],
    ['an allow rule that holds', { allow: [main] }, 'deny', 'allowed by main'],
    ['the first allow rule that holds', { allow: [push, main] }, 'deny', 'allowed by push'],
    ['deny before allow', { allow: [main], deny: [push] }, 'allow', 'denied by push'],
    [
      'only deny rules, none of which holds',
      { deny: [{ name: 'd', claims: { ref: 'x' } }] },
      'allow',
      'allowed by none',
    ],
    ['the same with default deny', { deny: [{ name: 'd', claims: { ref: 'x' } }] }, 'deny', 'denied by none'],
    ['allow rules of which none holds', { allow: [{ name: 'a', claims: { ref: 'x' } }] }, 'allow', 'denied by none'],
  ] as const)('%s', (_what, policy, fallback, expected) => {
    expect(decision(policy, { ref: 'main', event: 'push' }, { fallback })).toBe(expected);
  });

  test('may be about kinds of key', () => {
    const policy = {
      allow: [
        { name: 'curves', key: { glob: 'ecdsa-*' }, claims: { ref: 'main' } },
        { name: 'edwards', key: 'ed25519' },
      ],
      deny: [{ name: 'too big', key: 'ecdsa-p521' }],
    };
    const of = (claims: Record<string, unknown>) =>
      Object.fromEntries(keyAlgorithmNames.map((key) => [key, decision(policy, claims, { key })]));
    expect(of({ ref: 'main' })).toEqual({
      'ecdsa-p256': 'allowed by curves',
      'ecdsa-p384': 'allowed by curves',
      'ecdsa-p521': 'denied by too big',
      'rsa-2048': 'denied by none',
      'rsa-3072': 'denied by none',
      'rsa-4096': 'denied by none',
      ed25519: 'allowed by edwards',
    });
    expect(of({ ref: 'dev' })).toMatchObject({ 'ecdsa-p256': 'denied by none', ed25519: 'allowed by edwards' });
  });

  test('come from its provider template too, and from a meta-issuer', () => {
    const text = `
meta-issuers:
  https://*.example.com/ci:
    client-id: sigstore
    type: ci-provider
    ci-provider: jobs
    policy-default: allow
    deny: [{name: own, claims: {a: x}}]
ci-issuer-metadata:
  jobs:
    subject-alternative-name-template: "https://example.com/{{ .sub }}"
    policy-default: deny
    deny: [{name: shared, claims: {b: {equals: x, missing: no-match}}}]
`;
    const { policy } = parseIdentityConfig(text, 'identity.yaml').metaIssuers[0] ?? { policy: undefined };
    if (policy === undefined) throw new Error('there is no meta-issuer');
    const of = (claims: Record<string, unknown>) => {
      const { outcome } = decide(policy, 'deny', policySubject(claims, usualSan));
      return outcome.rule?.name ?? outcome.allowed;
    };
    expect([of({ a: 'x' }), of({ a: 'y', b: 'x' }), of({ a: 'y' })]).toEqual(['own', 'shared', true]);
  });
});
