import fc from 'fast-check';
import { globTest, regexTest } from '../../src/policy/text-pattern.js';
import { holds, refusal } from './support.js';

const rule = (conditions: Record<string, unknown>) => ({ allow: [{ name: 'releases', ...conditions }] });
const onClaim = (condition: unknown) => rule({ claims: { ref: condition } });
const path = 'identity.yaml:1: oidc-issuers["https://issuer.example.com"].allow["releases"]';

describe('a configuration is refused, with file, line, path and rule, for', () => {
  test.each<[string, Record<string, unknown>, string]>([
    ['an allow list that is empty', { allow: [] }, 'allow: is an empty list'],
    ['an allow list that is no list', { allow: { name: 'x' } }, 'allow: is a mapping; expected a list of rules'],
    ['a rule without a name', { deny: [{ claims: { a: 'b' } }] }, 'deny[0]: has no name'],
    ['a name with a quote', { deny: [{ name: 'a"b', claims: { a: 'b' } }] }, 'is not a name'],
    ['a rule about everybody', rule({}), `${path}: has no condition`],
    ['a rule with an empty mapping of claims', rule({ claims: {} }), `${path}: has no condition`],
    ['an unknown key', rule({ claim: { a: 'b' } }), '.claim: is not a known key; did you mean "claims"?'],
    [
      'an unknown way to compare',
      onClaim({ globb: 'x' }),
      '.claims.ref.globb: is not a known key; did you mean "glob"?',
    ],
    ['nothing to compare with', onClaim({ 'ignore-case': true }), 'has nothing to compare with'],
    ['an empty list of values', onClaim([]), 'has nothing to compare with'],
    ['null', onClaim(null), `${path}.claims.ref: is null; expected text, a number, true or false`],
    ['a path that is none', rule({ claims: { '$.a[0]': 'x' } }), 'is not a path'],
    ['a regular expression that cannot be read', onClaim({ regex: 'a(' }), 'cannot be used: missing closing )'],
    ['look-ahead', onClaim({ regex: '(?=a)b' }), 'cannot be used'],
    ['a back-reference', onClaim({ regex: '(a)\\1' }), 'cannot be used'],
    ['a regular expression that is too big', onClaim({ regex: '((a{0,10}){10}){10}' }), 'expected at most 250'],
    ['a pattern that is too long', onClaim({ regex: 'a'.repeat(513) }), 'has 513 characters; expected at most 512'],
    ['(?i), which folds beyond ASCII', onClaim({ regex: '(?i)kim' }), 'expected ignore-case: true'],
    ['three stars', onClaim({ glob: 'a***' }), 'expected * or **'],
    ['a glob that ends in a backslash', onClaim({ glob: 'a\\' }), 'ends in a single backslash'],
    ['text that is not in NFC', onClaim('Zoe\u0308'), "is not in Unicode's NFC"],
    ['case ignored beyond ASCII', onClaim({ equals: 'Zoë', 'ignore-case': true }), 'is for ASCII letters only'],
    ['a number that is not exact', onClaim(2 ** 53 + 2), 'is beyond 2^53'],
    ['missing in an allow rule', onClaim({ equals: 'x', missing: 'match' }), 'is for deny rules'],
    ['a message in an allow rule', rule({ claims: { a: 'b' }, message: 'x' }), '.message: is for deny rules'],
    ['a kind of key that is none', rule({ key: 'rsa-1024' }), '.key: is "rsa-1024", which is none of ecdsa-p256'],
    ['a type of SAN that is none', rule({ 'san-type': 'dns' }), 'which is none of email, uri, username'],
    ['a number for a SAN', rule({ san: 5 }), '.san: is "5"; expected text'],
    ['as-text on a SAN', rule({ san: { equals: 'a', 'as-text': true } }), 'is for claims'],
    ['something beside any', onClaim({ any: 'x', glob: 'y' }), 'stands beside "any"'],
    [
      'two rules of one name',
      { allow: [{ name: 'a', san: 'x' }], deny: [{ name: 'a', san: 'y' }] },
      'two rules named "a"',
    ],
    ['another default', { 'policy-default': 'ask' }, 'is "ask"; expected allow or deny'],
    [
      'too many rules',
      { deny: Array.from({ length: 1001 }, (_, i) => ({ name: `r${i}`, san: 'x' })) },
      'has 1001 rules',
    ],
  ])('%s', (_what, policy, sentence) => {
    expect(refusal(policy)).toContain(sentence);
  });
});

describe('no pattern can hang', () => {
  test.each([
    ['(a+)+b', 'a'],
    ['(a|a)*b', 'a'],
    ['(a|aa)+b', 'a'],
    ['(.*)*x', 'y'],
    ['(x+x+)+y', 'x'],
    ['([a-z]+)*[0-9]', 'z'],
    ['(a?){40}a{40}b', 'a'],
    ['((a{0,5}){5}){3}b', 'a'],
  ])('%s on 100,000 characters is decided or given up', (pattern, char) => {
    expect(holds({ claims: { c: { regex: pattern } } }, { c: char.repeat(100_000) })).toEqual({
      allow: false,
      deny: true,
    });
    expect(holds({ claims: { c: { regex: pattern } } }, { c: char.repeat(300) })).toEqual({
      allow: false,
      deny: false,
    });
  });

  test('many elements of an array are decided or given up', () => {
    const some = { any: { regex: '((a{0,5}){5}){3}b' } };
    const array = (length: number) => ({ c: Array.from({ length }, () => 'a'.repeat(200)) });
    expect(holds({ claims: { c: some } }, array(300))).toEqual({ allow: false, deny: true });
    expect(holds({ claims: { c: some } }, array(10))).toEqual({ allow: false, deny: false });
  });

  test('a glob of many stars on text made to be slow', () => {
    const test = globTest(`${'*a'.repeat(40)}b`, false);
    expect(test('a'.repeat(1000))).toBe('differs');
  });
});

test('a glob without wildcards matches itself and nothing else', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), fc.string({ maxLength: 40 }), (text, other) => {
      const quoted = text.replace(/[\\*?]/g, '\\$&');
      expect(globTest(quoted, false)(text)).toBe('match');
      expect(globTest(quoted, false)(other)).toBe(text === other ? 'match' : 'differs');
    }),
  );
});

test('a glob says what a plain matcher says', () => {
  const pieces = fc.array(fc.constantFrom('a', 'b', '/', '*', '**', '?'), { maxLength: 8 });
  const text = fc.array(fc.constantFrom('a', 'b', '/'), { maxLength: 8 }).map((chars) => chars.join(''));
  fc.assert(
    fc.property(pieces, text, (glob, given) => {
      fc.pre(!glob.join('').includes('***'));
      // Two single stars side by side read as one double star.
      fc.pre(!glob.some((piece, i) => piece === '*' && glob[i + 1] === '*'));
      expect(globTest(glob.join(''), false)(given)).toBe(plainMatch(glob, given) ? 'match' : 'differs');
    }),
  );
});

function plainMatch([first, ...rest]: readonly string[], text: string): boolean {
  if (first === undefined) return text === '';
  if (first === '?') return text !== '' && text[0] !== '/' && plainMatch(rest, text.slice(1));
  if (first !== '*' && first !== '**') return text[0] === first && plainMatch(rest, text.slice(1));
  for (let i = 0; i <= text.length; i++) {
    if (plainMatch(rest, text.slice(i))) return true;
    if (first === '*' && text[i] === '/') return false;
  }
  return false;
}

test('no text makes a pattern throw', () => {
  const test = regexTest('[a-z]+@(x|y)+\\.example', true);
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void test(text)));
});
