import fc from 'fast-check';
import { AppError } from '../../src/errors.js';
import { parseUri } from '../../src/identity/uri.js';

const failure = (text: string): string => {
  try {
    return `accepted ${parseUri(text, 'the identity').text}`;
  } catch (error) {
    if (error instanceof AppError && error.code === 'SUBJECT_INVALID') return error.detail;
    throw error;
  }
};

describe('parseUri', () => {
  test.each([
    'https://ci.example/a/b.yml@refs/heads/main',
    'https://ci.example/group/project//.ci.yml@refs/tags/v1',
    'http://localhost:8080/users/1?a=b&c=%20#d',
    "https://ci.example/a!$&'()*+,;=:@~-._[]",
    'https://ci.example/a%2Fb%C3%BC',
    'https://[::1]:8443/x',
    'spiffe://example.com/ns/a',
    'mailto:jane@example.com',
    'https://ci.example',
    'https://ci.example?',
  ])('leaves %s as it is', (text) => {
    expect(parseUri(text, 'x').text).toBe(text);
  });

  test.each([
    ['HTTPS://CI.example/A', 'https://CI.example/A'],
    ['https://ci.example/a b', 'https://ci.example/a%20b'],
    ['https://ci.example/größe', 'https://ci.example/gr%C3%B6%C3%9Fe'],
    ['https://ci.example/日本', 'https://ci.example/%E6%97%A5%E6%9C%AC'],
    ['https://ci.example/a"<>\\^`{|}', 'https://ci.example/a%22%3C%3E%5C%5E%60%7B%7C%7D'],
    ['https://ci.example/a (b)', 'https://ci.example/a%20%28b%29'],
    ['https://ci.example/a%2Fb c', 'https://ci.example/a%2Fb%20c'],
    ['https://ci.example/a#', 'https://ci.example/a'],
    ['https://ci.example/a#b c#d', 'https://ci.example/a#b%20c%23d'],
    ['https://ci.example/a?b c=ü', 'https://ci.example/a?b%20c=%C3%BC'],
    ['https://bücher.example/', 'https://b%C3%BCcher.example/'],
  ])('%s becomes %s', (text, expected) => {
    expect(parseUri(text, 'x').text).toBe(expected);
  });

  test.each([
    ['https://ci.example/a\u0000b', 'it has a control character'],
    ['https://ci.example/a\nb', 'it has a control character'],
    ['https://ci.example/a\u007f', 'it has a control character'],
    ['https://ci.example/100%', 'a % in it is not followed by two hexadecimal digits'],
    ['https://ci.example/%zz', 'a % in it is not followed by two hexadecimal digits'],
    ['https://ci.example/\ud800', 'it has half a surrogate pair'],
    ['ci.example/a', 'it has no scheme'],
    ['//ci.example/a', 'it has no scheme'],
    ['', 'it has no scheme'],
    ['https:///a', 'its host is empty'],
    ['https://a b/', 'its host is empty or has characters that no host has'],
    ['https://a.example\\@b.example/', 'its user part has characters'],
    ['https://a.example:x/', 'its host is empty or has characters'],
    ['https:', 'nothing follows the scheme'],
  ])('refuses %j', (text, reason) => {
    expect(failure(text)).toContain(reason);
  });

  test('gives printable ASCII without spaces, and leaves its own output alone', () => {
    const text = fc.oneof(fc.string({ unit: 'binary' }), fc.webUrl({ withQueryParameters: true, withFragments: true }));
    fc.assert(
      fc.property(text, (input) => {
        const first = failure(`https://ci.example/${input}`).replace(/^accepted /, '');
        if (!first.startsWith('https://')) return true;
        return /^[!-~]+$/.test(first) && parseUri(first, 'x').text === first;
      }),
      { numRuns: 2000 },
    );
  });
});
