import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { createIssuers, type Issuers } from '../../src/identity/issuers.js';
import { issuerHealth, issuerNames } from '../../src/telemetry/issuer-label.js';

const config = JSON.stringify({
  OIDCIssuers: { 'https://named.example': { IssuerURL: 'https://named.example', ClientID: 'sigstore', Type: 'email' } },
  MetaIssuers: {
    'https://*.example': { ClientID: 'sigstore', Type: 'kubernetes' },
    'https://oidc.*.example/id/*': { ClientID: 'sigstore', Type: 'kubernetes' },
  },
});
const entries = ['https://named.example', 'https://*.example', 'https://oidc.*.example/id/*', 'other'];

let fetches = 0;
const fetcher = {
  get: async () => {
    fetches++;
    throw new Error('out of reach');
  },
};
const issuersOf = (text: string): Issuers =>
  createIssuers(parseIdentityConfig(text, 'test'), { fetcher, clock: () => 1_000_000 });

test.each([
  ['https://named.example', 'https://named.example'],
  ['https://another.example', 'https://*.example'],
  ['https://oidc.eu.example/id/ABC', 'https://oidc.*.example/id/*'],
  ['https://named.example/', 'other'],
  ['https://evil.com/https://named.example', 'other'],
  ['', 'other'],
  [`https://${'a'.repeat(5000)}.example`, 'other'],
])('the issuer %p is called %p', (iss, expected) => {
  expect(issuerNames(() => issuersOf(config)).of(iss)).toBe(expected);
});

test('whatever a token says, there are no more names than entries of the configuration, and nothing is fetched', () => {
  const names = issuerNames(() => issuersOf(config));
  const jwt = fc.string().map((iss) => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    return `${part({ alg: 'RS256' })}.${part({ iss })}.AAAA`;
  });
  fc.assert(fc.property(fc.oneof(jwt, fc.string()), (token) => entries.includes(names.ofToken(token))));
  expect(fetches).toBe(0);
});

test('a configuration that takes the place of another has its names at once', () => {
  let current = issuersOf(config);
  const names = issuerNames(() => current);
  expect(names.of('https://named.example')).toBe('https://named.example');
  current = issuersOf('{}');
  expect(names.of('https://named.example')).toBe('other');
});

test('every entry has a row of health, and one that was never asked is not failing', () => {
  const issuers = issuersOf(config);
  const health = issuerHealth(
    issuers,
    issuerNames(() => issuers),
  );
  expect([...health.keys()].sort()).toEqual(entries.slice(0, 3).sort());
  for (const row of health.values()) expect(row).toEqual({ keyCount: 0, fetchedAtMs: undefined, failure: undefined });
});

test('an issuer whose keys could not be fetched is failing, with the reason', async () => {
  const issuers = issuersOf(config);
  await issuers.warmUp();
  const health = issuerHealth(
    issuers,
    issuerNames(() => issuers),
  );
  expect(health.get('https://named.example')?.failure).toContain('could not be reached');
  expect(health.get('https://*.example')?.failure).toBeUndefined();
});
