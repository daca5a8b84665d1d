import type { Principal } from '../../src/identity/principal.js';
import { addressKey, identityKey, issuerKey } from '../../src/limits/keys.js';
import { rateLimitFields } from '../../src/limits/rate-limit-fields.js';

describe('addressKey', () => {
  test.each([
    ['two addresses of one /64', '2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff', true],
    ['two /64 of one /48', '2001:db8:1:2::1', '2001:db8:1:3::1', false],
    ['two spellings of one address', '2001:db8::1', '2001:0DB8:0:0:0:0:0:1', true],
    ['an IPv4 address and itself over an IPv6 socket', '192.0.2.7', '::ffff:192.0.2.7', true],
    ['two IPv4 addresses over IPv6 sockets', '::ffff:192.0.2.7', '::ffff:192.0.2.8', false],
    ['two IPv4 addresses', '192.0.2.7', '192.0.2.8', false],
  ])('%s', (_name, one, other, same) => {
    expect(addressKey(one) === addressKey(other)).toBe(same);
  });
});

const principal = (issuer: string, kind: 'email' | 'uri', value: string): Principal =>
  ({
    issuer,
    subject: 's',
    san: { kind, value },
    extensions: {},
    challenge: { claim: 'sub', value: 's' },
  }) as Principal;

describe('identityKey', () => {
  const jane = principal('https://a.example', 'email', 'jane@example.com');

  test.each([
    ['another issuer', principal('https://b.example', 'email', 'jane@example.com')],
    ['another name', principal('https://a.example', 'email', 'Jane@example.com')],
    ['another kind of name', principal('https://a.example', 'uri', 'jane@example.com')],
    ['the same characters cut elsewhere', principal('https://a.examplejane', 'email', '@example.com')],
    ['a name that quotes', principal('https://a.example","email', 'email', 'jane@example.com')],
  ])('%s is another identity', (_name, other) => {
    expect(identityKey(other)).not.toBe(identityKey(jane));
  });

  test('another token of one identity is the same, and a long name takes no more memory', () => {
    expect(identityKey({ ...jane, subject: 'other' })).toBe(identityKey(jane));
    const long = principal('https://a.example', 'uri', `https://${'x'.repeat(60_000)}`);
    expect([identityKey(long).length, issuerKey(long).length]).toEqual([43, 43]);
  });
});

test('the header fields are lists with one item for each limit, in the order they were asked', () => {
  const base = { points: 60, windowSeconds: 60, remaining: 59, resetSeconds: 12 };
  expect(
    rateLimitFields([
      { ...base, name: 'address' },
      { ...base, name: 'identity', remaining: 0 },
    ]),
  ).toEqual({
    'RateLimit-Policy': '"address";q=60;w=60, "identity";q=60;w=60',
    RateLimit: '"address";r=59;t=12, "identity";r=0;t=12',
  });
});
