import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import * as x509 from '@peculiar/x509';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { createIssuers } from '../../src/identity/issuers.js';
import {
  authenticate,
  clock,
  directFetcher,
  everyIssuer,
  failureOf,
  header,
  jwks,
  offlineIssuers,
  publicJwk,
  rsaKey,
  token,
} from './support.js';

const parse = (config: object) => parseIdentityConfig(JSON.stringify(config), '/etc/mayfly/id.yaml');
const email = { 'client-id': 'sigstore', type: 'email' };
const jane = { sub: 'u', email: 'jane@example.com', email_verified: true };

describe('match', () => {
  const issuers = offlineIssuers(
    JSON.stringify({
      'oidc-issuers': { 'https://a.example/t/one': { ...email, 'client-id': 'exact' } },
      'meta-issuers': {
        'https://*.example/*/*': { ...email, 'client-id': 'three' },
        'https://a.example/*/*': { ...email, 'client-id': 'two' },
        'https://a.example/t/*': { ...email, 'client-id': 'one' },
        'https://a.example/t/*/': { ...email, 'client-id': 'slash' },
        'https://oidc-*.example': { ...email, 'client-id': 'part' },
      },
    }),
  );
  test.each([
    ['https://a.example/t/one', 'exact'],
    ['https://a.example/t/two', 'one'],
    ['https://a.example/t/two/', 'slash'],
    ['https://a.example/u/two', 'two'],
    ['https://b.example/u/two', 'three'],
    ['https://oidc-eu_1.example', 'part'],
  ])('%s is %s: exact first, then the most specific', (iss, clientId) => {
    expect(issuers.match(iss)).toMatchObject({ url: iss, config: { clientId } });
  });

  test.each([
    'https://a.example',
    'https://a.example/t/one?x',
    'https://a.example/t/two#x',
    'https://a.example/t/two\n',
    'https://a.example/t/',
    'https://a.example/t/a.b',
    'https://a.example/t/%41',
    'https://a.example/t/u/v',
    'https://a.b.example/u/v',
    'https://aXexample/t/x',
    'http://a.example/t/two',
    'https://evil.test/https://a.example/t/two',
    'http://localhost?issuer=https://a.example/t/two',
    'https://a.example:443/t/two',
    `https://a.example/t/${'x'.repeat(3_000)}`,
  ])('%s is nobody', async (iss) => {
    expect(await failureOf(() => issuers.match(iss))).toContain('ISSUER_UNKNOWN');
  });
});

describe('createIssuers', () => {
  test('keeps key caches across a swap where the settings stayed, and no others', async () => {
    const fetcher = everyIssuer();
    const before = createIssuers(
      parse({
        'oidc-issuers': { 'https://a.example': email, 'https://b.example': email },
        'meta-issuers': { 'https://w.example/*': email },
      }),
      { fetcher, clock },
    );
    for (const iss of ['https://a.example', 'https://b.example', 'https://w.example/1'])
      await authenticate(token({ iss, ...jane }), before);
    const asked = fetcher.asked.length;
    const after = createIssuers(
      parse({
        'oidc-issuers': { 'https://a.example': { ...email, 'client-id': 'other' } },
        'meta-issuers': { 'https://w.example/*': email },
      }),
      { fetcher, clock },
      before,
    );
    await authenticate(token({ iss: 'https://a.example', ...jane, aud: 'other' }), after);
    await authenticate(token({ iss: 'https://w.example/1', ...jane }), after);
    expect(fetcher.asked.length).toBe(asked);
    expect(await failureOf(() => after.match('https://b.example'))).toContain('ISSUER_UNKNOWN');
    expect((await authenticate(token({ iss: 'https://b.example', ...jane }), before)).issuer).toBe('https://b.example');
    const private_ = createIssuers(
      parse({ 'meta-issuers': { 'https://w.example/*': { ...email, 'allow-private-network': true } } }),
      { fetcher, clock },
      after,
    );
    await authenticate(token({ iss: 'https://w.example/1', ...jane }), private_);
    expect(fetcher.asked.length).toBe(asked + 2);
  });

  test('a jwks-file issuer never touches the network, and its file is read anew at a swap', async () => {
    const fetcher = everyIssuer();
    const config = parse({ 'oidc-issuers': { 'https://a.example': { ...email, 'jwks-file': 'keys.json' } } });
    const files = { '/etc/mayfly/keys.json': JSON.stringify(jwks) } as Record<string, string>;
    const deps = { fetcher, clock, readTextFile: (path: string) => files[path] ?? '' };
    const before = createIssuers(config, deps);
    await authenticate(token({ iss: 'https://a.example', ...jane }), before);
    files['/etc/mayfly/keys.json'] = JSON.stringify({ keys: [publicJwk(rsaKey, 'k2')] });
    const after = createIssuers(config, deps, before);
    expect(await failureOf(() => authenticate(token({ iss: 'https://a.example', ...jane }), after))).toContain(
      'publishes no key with the "kid" "k1"',
    );
    await after.warmUp();
    expect(after.status()).toEqual([
      { issuer: 'https://a.example', state: 'file', keyCount: 1, fetchedAtMs: undefined, failure: undefined },
    ]);
    expect(fetcher.asked).toEqual([]);
    files['/etc/mayfly/keys.json'] = '{}';
    expect(await failureOf(() => createIssuers(config, deps, before))).toContain(
      'STARTUP: /etc/mayfly/keys.json: the jwks-file of issuer https://a.example cannot be used: it is not a JSON Web Key Set',
    );
  });

  test('warmUp asks every named issuer and tells who did not answer', async () => {
    const good = everyIssuer();
    const fetcher = {
      get: async (url: URL) => {
        if (url.host === 'b.example') throw new Error('connect ETIMEDOUT 10.0.0.1');
        return good.get(url);
      },
    };
    const issuers = createIssuers(
      parse({ 'oidc-issuers': { 'https://a.example': email, 'https://b.example': email } }),
      { fetcher, clock },
    );
    expect(issuers.status().map(({ state }) => state)).toEqual(['unknown', 'unknown']);
    await issuers.warmUp();
    expect(issuers.status().map(({ state, failure }) => [state, failure])).toEqual([
      ['fresh', undefined],
      ['failed', 'the keys of issuer "https://b.example" cannot be fetched: it could not be reached'],
    ]);
  });

  test('in a cluster the API server gets its CA and our token, and nobody else does', async () => {
    const seen: [string, string | undefined, string | undefined][] = [];
    const fetcher = {
      get: async (url: URL, policy: { caCert?: string | undefined; bearerToken?: string | undefined }) => {
        seen.push([url.href, policy.caCert, policy.bearerToken]);
        const issuer = url.origin;
        return url.pathname.endsWith('configuration')
          ? JSON.stringify({ issuer, jwks_uri: 'https://172.18.0.2:6443/openid/v1/jwks' })
          : JSON.stringify(jwks);
      },
    };
    const files: Record<string, string> = { '/ca': 'CA\n', '/token': 'T\n' };
    const issuers = createIssuers(
      parse({ 'oidc-issuers': { 'https://kubernetes.default.svc': email, 'https://a.example': email } }),
      {
        fetcher,
        clock,
        inClusterFiles: { caCert: '/ca', token: '/token' },
        readTextFile: (path) => files[path] ?? '',
      },
    );
    await issuers.warmUp();
    expect(seen.sort()).toEqual([
      ['https://172.18.0.2:6443/openid/v1/jwks', undefined, undefined],
      ['https://a.example/.well-known/openid-configuration', undefined, undefined],
      ['https://kubernetes.default.svc/.well-known/openid-configuration', 'CA', 'T'],
      ['https://kubernetes.default.svc/openid/v1/jwks', 'CA', 'T'],
    ]);
  });

  test('outside of a cluster its missing files are no mistake', async () => {
    const issuers = createIssuers(parse({ 'oidc-issuers': { 'https://kubernetes.default.svc': email } }), {
      fetcher: everyIssuer(),
      clock,
      inClusterFiles: { caCert: '/nowhere/ca', token: '/nowhere/token' },
    });
    expect((await authenticate(token({ iss: 'https://kubernetes.default.svc', ...jane }), issuers)).subject).toBe('u');
  });
});

describe('ca-cert', () => {
  test('lets an issuer with a private TLS root be asked, which is refused without', async () => {
    const { pem, server, url } = await tlsIssuer();
    const config = (fields: object) => parse({ 'oidc-issuers': { [url]: { ...email, ...fields } } });
    const issuers = (fields: object) => createIssuers(config(fields), { fetcher: directFetcher(), clock });
    const jwt = token({ iss: url, ...jane }, header);
    expect((await authenticate(jwt, issuers({ 'ca-cert': pem }))).issuer).toBe(url);
    expect(await failureOf(() => authenticate(jwt, issuers({})))).toContain(
      'its TLS certificate is not trusted (a private root goes into ca-cert)',
    );
    server.close();
  });
});

async function tlsIssuer() {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=test root',
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    extensions: [
      new x509.BasicConstraintsExtension(true),
      new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }]),
    ],
  });
  const pem = certificate.toString('pem');
  const key = `-----BEGIN PRIVATE KEY-----\n${Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64')}\n-----END PRIVATE KEY-----\n`;
  let url = '';
  const server = createServer({ cert: pem, key }, (request, response) => {
    response.end(JSON.stringify(request.url === '/keys' ? jwks : { issuer: url, jwks_uri: `${url}/keys` }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { pem, server, url };
}
