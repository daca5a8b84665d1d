import fc from 'fast-check';
import { decision, holds, refusal } from './support.js';

const yes = { allow: true, deny: true };
const no = { allow: false, deny: false };
const undecided = { allow: false, deny: true };
const claims = { ref: 'main', n: 5, half: 0.5, yes: true, none: null, groups: ['users', 'staff'], o: { p: 'q' } };

describe('a CEL expression', () => {
  test.each([
    ['claims.ref == "main"', yes],
    ['claims.ref == "dev"', no],
    ['claims.n == 5', yes],
    ['claims.n == "5"', no],
    ['claims.n > 4 && claims.half < 1.0', yes],
    ['claims.yes', yes],
    ['!claims.yes', no],
    ['claims.none == null', yes],
    ['"staff" in claims.groups', yes],
    ['claims.groups.exists(g, g.startsWith("st"))', yes],
    ['claims.groups.all(g, g == "staff")', no],
    ['claims.o.p == "q"', yes],
    ['claims["o"]["p"] == "q"', yes],
    ['has(claims.gone)', no],
    ['!has(claims.gone) || claims.gone == "x"', yes],
    ['san.startsWith("https://issuer.example.com/") && san_type == "uri"', yes],
    ['fullMatch(claims.ref, "m.+n")', yes],
    ['fullMatch(claims.ref, "ai")', no],
    // An error is no match for allow and a match for deny.
    ['claims.gone == "x"', undecided],
    ['claims.ref > 5', undecided],
    ['claims.ref', undecided],
    ['claims.o.p.q == "x"', undecided],
    ['claims.groups[9] == "x"', undecided],
    ['claims.n / 0 == 1', undecided],
    ['int(claims.ref) == 1', undecided],
    // Nothing of JavaScript's own is a claim.
    ['has(claims.constructor) || has(claims.__proto__) || has(claims.o.toString)', no],
    ['claims.constructor.name == "Object"', undecided],
  ])('%s', (cel, expected) => {
    expect(holds({ cel }, claims)).toEqual(expected);
  });

  test.each([
    ['claims.ref ==', 'the expression cannot be used'],
    ['claims.ref == "main" ||| true', 'the expression cannot be used'],
    ['ref == "main"', 'Unknown variable: ref'],
    ['san == 5', 'no such overload: string == int'],
    ['san', 'the expression gives string; expected true or false'],
    ['1 + 1', 'the expression gives int'],
    ['san.matches("(a+)+b")', 'has .matches(); expected fullMatch'],
    ['fullMatch(san, claims.pattern)', 'has no pattern in quotes'],
    ['fullMatch(san, "(a")', 'cannot be used: missing closing )'],
    ['claims.a.exists(x, claims.b.exists(y, x == y))', 'within another loop'],
    ['claims.a.exists(x, fullMatch(x, "a"))', 'has fullMatch in a loop'],
    ['claims.a.map(x, x + x).size() > 1', 'the method map is not to be had'],
    ['san.upperAscii() == "X"', 'the method upperAscii is not to be had'],
    ['timestamp(0) == timestamp(1)', 'the function timestamp is not to be had'],
    ['cel.bind(a, san + san, a == "x")', 'the method bind is not to be had'],
    [`san == "${'a'.repeat(2000)}"`, 'expected at most 2000'],
    [Array.from({ length: 150 }, () => 'true').join(' && '), 'cannot be used'],
    [' ', 'is empty; expected a CEL expression'],
  ])('is refused when the configuration is loaded: %s', (cel, sentence) => {
    const message = refusal({ deny: [{ name: 'r', cel }] });
    expect(message).toContain('.deny["r"].cel: ');
    expect(message).toContain(sentence);
  });

  test.each([
    ['many values', { list: Array.from({ length: 1001 }, () => 'a') }],
    ['a long text', { text: 'a'.repeat(2049) }],
    ['much text', { list: Array.from({ length: 20 }, () => 'a'.repeat(1000)) }],
  ])('is not asked about claims with %s', (_what, large) => {
    expect(holds({ cel: 'true || claims.ref == "x"' }, large)).toEqual(undecided);
  });

  test('never throws, whatever the claims', () => {
    const cel = 'claims.a.exists(x, x.b == claims.c) && claims.c > 1';
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('a', 'b', 'c', '__proto__'), fc.jsonValue()), (given) => {
        expect(decision({ deny: [{ name: 'r', cel }] }, given)).toMatch(/^(denied by r|allowed by none)$/);
      }),
    );
  });
});
