import fc from 'fast-check';
import { parseStrictJson } from '../src/json.js';

describe('parseStrictJson', () => {
  test.each([
    ['{"a":1,"a":2}', /"a" twice/],
    ['{"a":1,"\\u0061":2}', /"a" twice/],
    ['{"x":{"b":[{"c":1,"c":1}]}}', /"c" twice/],
    ['\ufeff{}', /syntax/],
    ['{} {}', /syntax/],
    ['', /empty/],
    ['{"a"', /syntax/],
    [`${'['.repeat(65)}${']'.repeat(65)}`, /64 levels/],
  ])('refuses %j', (text, reason) => {
    expect(() => parseStrictJson(text)).toThrow(reason);
  });

  test('refuses bytes that are not UTF-8', () => {
    expect(() => parseStrictJson(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(/UTF-8/);
  });

  test('never quotes its input', () => {
    expect(() => parseStrictJson('{"token": secret')).toThrow(/^it has a syntax error$/);
  });

  test.each(['{"a":{"b":1},"b":{"a":[{"a":1},{"a":2}]}}', '"a,b{"', '[",\\"", {"\\\\":1, "\\"":2}]'])(
    'accepts %j',
    (text) => {
      expect(parseStrictJson(text)).toEqual(JSON.parse(text));
    },
  );

  test('agrees with JSON.parse on any value without duplicate keys', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 8 }), (text) => {
        expect(parseStrictJson(text)).toEqual(JSON.parse(text));
      }),
      { numRuns: 300 },
    );
  });
});
