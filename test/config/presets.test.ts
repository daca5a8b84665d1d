import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { issuerFields, providerFields, topFields } from '../../src/config/identity-fields.js';
import { createIssuers } from '../../src/identity/issuers.js';
import type { Principal } from '../../src/identity/principal.js';
import { extensionNames, identityExtensions } from '../../src/x509/extensions.js';
import { authenticate, clock, failureOf, jwks, token } from '../identity/support.js';

/** A token of one provider and what the certificate says; every extension that it has is listed. */
interface Sample {
  readonly title: string;
  readonly claims: Readonly<Record<string, unknown>> & { readonly iss: string };
  readonly expect: {
    readonly san: Principal['san'];
    readonly challenge: string;
    readonly extensions: Principal['extensions'];
  };
}

const presets = fileURLToPath(new URL('../../config/', import.meta.url));
const vectors = fileURLToPath(new URL('../vectors/presets/', import.meta.url));
const namesIn = (directory: string, suffix: string) =>
  readdirSync(directory)
    .filter((file) => file.endsWith(suffix))
    .map((file) => file.slice(0, -suffix.length))
    .sort();

const names = namesIn(presets, '.yaml');
const fileOf = (name: string) => `${presets}${name}.yaml`;
const textOf = (name: string) => readFileSync(fileOf(name), 'utf8');
const load = (name: string) => parseIdentityConfig(textOf(name), fileOf(name));
const samplesOf = (name: string): Sample[] => JSON.parse(readFileSync(`${vectors}${name}.json`, 'utf8'));
const samples = names.flatMap((name) => samplesOf(name).map((sample) => ({ name, title: sample.title, sample })));

/** Plays the one issuer of a sample, slash at its end included, and stands in for a jwks-file. */
function issuersFor(name: string, issuer: string) {
  const discoveryUrl = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const get = async (url: URL) =>
    JSON.stringify(url.href === discoveryUrl ? { issuer, jwks_uri: new URL('/keys', issuer).href } : jwks);
  return createIssuers(load(name), { fetcher: { get }, clock, readTextFile: () => JSON.stringify(jwks) });
}

const withoutEmpty = (extensions: Principal['extensions']) =>
  Object.fromEntries(Object.entries(extensions).filter(([, value]) => value !== ''));

test('every preset has samples, and every sample has a preset', () => {
  expect(names).toEqual(namesIn(vectors, '.json'));
});

test('the presets are those the documentation lists', () => {
  const documented = readFileSync(fileURLToPath(new URL('../../docs/issuers.md', import.meta.url)), 'utf8');
  expect(names.filter((name) => !documented.includes(`config/${name}.yaml`))).toEqual([]);
});

describe.each(names)('config/%s.yaml', (name) => {
  test('loads without a warning', () => {
    expect(load(name).warnings).toEqual([]);
  });

  test('says at its top what it accepts, what to replace, what the certificate says and the trap', () => {
    const [top = ''] = textOf(name).split(/^(?!#)/m);
    const parts = name === 'example' ? ['mayfly serve'] : ['Accepts:', 'Replace:', 'Certificate:', 'Trap:'];
    expect(parts.filter((part) => !top.includes(part))).toEqual([]);
  });

  test('has a sample for every issuer', () => {
    const { issuers, metaIssuers } = load(name);
    const matched = samplesOf(name).map(({ claims }) => issuersFor(name, claims.iss).match(claims.iss).config.url);
    expect(new Set(matched)).toEqual(new Set([...issuers, ...metaIssuers].map(({ url }) => url)));
  });

  test('refuses a token for another audience', async () => {
    for (const { claims } of samplesOf(name)) {
      const jwt = token({ ...claims, aud: 'somebody-else' });
      const failure = await failureOf(() => authenticate(jwt, issuersFor(name, claims.iss)));
      expect(failure).toMatch(/^TOKEN_AUDIENCE_MISMATCH: /);
    }
  });
});

test.each(samples)('config/$name.yaml certifies $title as documented', async ({ name, sample }) => {
  const principal = await authenticate(token(sample.claims), issuersFor(name, sample.claims.iss));
  expect(principal.san).toEqual(sample.expect.san);
  expect(principal.challenge.value).toBe(sample.expect.challenge);
  expect(withoutEmpty(principal.extensions)).toEqual(sample.expect.extensions);
});

describe('config/example.yaml', () => {
  test('shows every key', () => {
    const fields = [topFields, issuerFields, providerFields].flatMap((group) => Object.values(group));
    const templates = extensionNames
      .filter((each) => !['issuer', 'issuerV2', 'tokenSubject'].includes(each))
      .map((each) => identityExtensions[each]);
    const keys = [...fields, ...templates].map(({ yaml }) => yaml);
    expect(keys.filter((key) => !new RegExp(`^ *${key}:`, 'm').test(textOf('example')))).toEqual([]);
  });

  test('names a jwks-file that can be used', () => {
    const fetcher = { get: () => Promise.reject(new Error('nothing may be fetched')) };
    expect(() => createIssuers(load('example'), { fetcher, clock })).not.toThrow();
  });
});

test.each([
  ['adfs', { email_verified: undefined }, 'EMAIL_NOT_VERIFIED'],
  ['adfs', { iss: 'http://adfs.example.com/adfs/services/trust' }, 'ISSUER_UNKNOWN'],
  ['google', { email: undefined }, 'CLAIM_MISSING'],
  ['google', { email_verified: false }, 'EMAIL_NOT_VERIFIED'],
  ['keycloak', { email_verified: 'false' }, 'EMAIL_NOT_VERIFIED'],
  ['aks', { iss: 'https://westeurope.oic.prod-aks.azure.com/other/cluster/' }, 'ISSUER_UNKNOWN'],
  ['eks', { iss: 'https://oidc.eks.eu-west-1.amazonaws.com/id/FEDCBA9876543210FEDCBA9876543210' }, 'ISSUER_UNKNOWN'],
  ['circleci', { iss: 'https://oidc.circleci.com/org/a/b' }, 'ISSUER_UNKNOWN'],
  ['circleci', { iss: 'https://oidc.circleci.com.attacker.example/org/a' }, 'ISSUER_UNKNOWN'],
  ['jenkins', { sub: 'https://elsewhere.example.com/job/app/' }, 'SUBJECT_INVALID'],
  ['spire', { sub: 'spiffe://other.example.org/ns/build/sa/signer' }, 'SUBJECT_INVALID'],
  ['entra', { iss: 'https://sts.windows.net/00000000-0000-4000-8000-000000000000/' }, 'ISSUER_UNKNOWN'],
  ['entra', { oid: undefined }, 'CLAIM_MISSING'],
  ['gitlab-self-managed', { ci_config_ref_uri: undefined }, 'CLAIM_MISSING'],
])('config/%s.yaml refuses the trap %j with %s', async (name, change, code) => {
  const [sample] = samplesOf(name);
  const claims = { iss: '', ...sample?.claims, ...change };
  const failure = await failureOf(async () => authenticate(token(claims), issuersFor(name, claims.iss)));
  expect(failure).toMatch(new RegExp(`^${code}: `));
});
