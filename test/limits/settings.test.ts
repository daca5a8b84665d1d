import { collectFlags } from '../../src/config/flag-sources.js';
import { serveConfig } from '../../src/config/serve.js';
import { AppError } from '../../src/errors.js';

const settings = (flags: Record<string, string>) => serveConfig(collectFlags(flags, {}, undefined));

function refusal(flags: Record<string, string>): string {
  try {
    settings(flags);
    return 'accepted';
  } catch (error) {
    if (error instanceof AppError) return error.detail;
    throw error;
  }
}

test.each([
  ['60/1m', 60, 60],
  ['1000/h', 1000, 3600],
  ['5/30s', 5, 30],
  ['1/1s', 1, 1],
  ['10/1h30m', 10, 5400],
  ['10/24h', 10, 86_400],
])('--limit-identity %s', (text, points, windowSeconds) => {
  expect(settings({ 'limit-identity': text }).limits.identity).toEqual({ points, windowSeconds });
});

test.each([
  '60',
  '60/',
  '/1m',
  '0/1m',
  '-1/1m',
  '1.5/1m',
  '60/1500ms',
  '60/0s',
  '60/25h',
  '60/minute',
  '60 / 1m',
  '1/1m/1m',
])('--limit-issuer %s is refused by name', (text) => {
  expect(refusal({ 'limit-issuer': text })).toMatch(/^--limit-issuer is ".*"; expected a number and a window /);
});

test('there are no limits on who asks unless they are given', () => {
  const { limits } = settings({});
  expect([limits.identity, limits.issuer, limits.address]).toEqual([undefined, undefined, undefined]);
});

test.each([
  { name: 'a local key and log', flags: {}, expected: expect.any(Number) },
  {
    name: 'a log elsewhere',
    flags: { 'ct-log-url': 'https://log.example', 'ct-log-public-key-path': 'x' },
    expected: 1024,
  },
  { name: 'a number', flags: { 'max-in-flight': '7' }, expected: 7 },
  { name: '0', flags: { 'max-in-flight': '0' }, expected: Number.POSITIVE_INFINITY },
])('--max-in-flight with $name', ({ flags, expected }) => {
  expect(settings(flags).limits.maxInFlight).toEqual(expected);
});

test.each(['max-in-flight', 'max-connections'])('--%s takes no text', (flag) => {
  expect(refusal({ [flag]: 'many' })).toMatch(/0 for no limit, or a number up to 999999$/);
});
