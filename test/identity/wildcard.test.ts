import { parseIdentityConfig } from '../../src/config/identity.js';
import { createFetcher } from '../../src/identity/fetcher.js';
import { createIssuers, type IssuersDeps } from '../../src/identity/issuers.js';
import {
  authenticate,
  clock,
  directFetcher,
  failureOf,
  goodIssuer,
  type Handler,
  jwks,
  type LocalServer,
  listen,
  token,
} from './support.js';

const open: LocalServer[] = [];
const serve = async (handler: Handler): Promise<LocalServer> => {
  const server = await listen(handler);
  open.push(server);
  return server;
};
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()));
});

const wellKnown = '/.well-known/openid-configuration';
const wildcard = (pattern: string, deps: Partial<IssuersDeps> = {}, fields: object = {}) =>
  createIssuers(
    parseIdentityConfig(
      JSON.stringify({ 'meta-issuers': { [pattern]: { 'client-id': 'sigstore', type: 'kubernetes', ...fields } } }),
      'id.yaml',
    ),
    {
      fetcher: directFetcher(),
      clock,
      ...deps,
    },
  );
const kubernetes = { sub: 's', 'kubernetes.io': { namespace: 'n', serviceaccount: { name: 'a' } } };
const tokenOf = (iss: string) => token({ iss, ...kubernetes });

describe('an issuer that a wildcard matches', () => {
  test('is not asked on a loopback address', async () => {
    const server = await serve(goodIssuer);
    const text = await failureOf(() => authenticate(tokenOf(`${server.url}/a`), wildcard(`${server.url}/*`)));
    expect(text).toContain('an address that is not public, which is refused for issuers matched by a wildcard');
    expect(server.requests).toEqual([]);
  });

  test.each([
    ['the server', { allowPrivateIssuers: true }, {}],
    ['the issuer', {}, { 'allow-private-network': true }],
  ])('is asked there when the operator allows it for %s', async (_who, deps, fields) => {
    const server = await serve(goodIssuer);
    const issuers = wildcard(`${server.url}/*`, deps, fields);
    expect((await authenticate(tokenOf(`${server.url}/a`), issuers)).issuer).toBe(`${server.url}/a`);
  });

  test('is not asked when its name resolves to a private address', async () => {
    const server = await serve(goodIssuer);
    const port = new URL(server.url).port;
    const fetcher = createFetcher({
      proxyFor: () => undefined,
      resolve: async () => [{ address: '127.0.0.1', family: 4 }],
    });
    const issuers = wildcard(`http://*.tenants.example:${port}`, { fetcher });
    expect(await failureOf(() => authenticate(tokenOf(`http://a.tenants.example:${port}`), issuers))).toContain(
      'not public',
    );
    expect(server.requests).toEqual([]);
  });

  test('is not asked when one of its addresses is private', async () => {
    const addresses = [
      { address: '203.0.114.5', family: 4 },
      { address: '10.0.0.1', family: 4 },
    ];
    const fetcher = createFetcher({ proxyFor: () => undefined, resolve: async () => addresses });
    const issuers = wildcard('https://*.tenants.example', { fetcher });
    expect(await failureOf(() => authenticate(tokenOf('https://a.tenants.example'), issuers))).toContain('not public');
  });

  test('the address that was checked is the one connected to: a second answer of the resolver is not asked for', async () => {
    const server = await serve(goodIssuer);
    const port = new URL(server.url).port;
    let questions = 0;
    const resolve = async () => [{ address: questions++ === 0 ? '127.0.0.1' : '169.254.169.254', family: 4 }];
    const fetcher = createFetcher({ proxyFor: () => undefined, resolve });
    const url = `http://a.tenants.example:${port}`;
    expect(await fetcher.get(new URL(`${url}/keys`), { network: 'public-or-private' })).toBe(JSON.stringify(jwks));
    expect(questions).toBe(1);
  });

  test.each([
    'http://169.254.169.254/latest',
    'http://[fd00:ec2::254]/x',
    'http://168.63.129.16/',
    'http://0x7f000001/',
    'http://[::ffff:169.254.169.254]/',
  ])('does not make us fetch keys from %s', async (jwksUri) => {
    const asked: string[] = [];
    const real = directFetcher(500);
    const issuer = 'http://id.tenants.example';
    const fetcher = {
      get: async (url: URL, policy: Parameters<typeof real.get>[1]) => {
        asked.push(url.href);
        if (url.pathname === wellKnown) return JSON.stringify({ issuer, jwks_uri: jwksUri });
        return real.get(url, policy);
      },
    };
    const text = await failureOf(() =>
      authenticate(tokenOf(issuer), wildcard('http://*.tenants.example', { fetcher })),
    );
    expect(text).toContain('key set: its host is, or resolves to, an address that is not public');
    expect(asked.length).toBe(2);
  });

  test('metadata services stay out of reach even where private networks are allowed', async () => {
    const fetcher = directFetcher(500);
    for (const host of ['169.254.169.254', '[fe80::1]', '168.63.129.16', '0.0.0.0', '224.0.0.1']) {
      await expect(fetcher.get(new URL(`http://${host}/`), { network: 'public-or-private' })).rejects.toThrow(
        'not public',
      );
    }
  });

  test('a flood of invented issuers is asked for within the limits and remembered within the limits', async () => {
    const server = await serve((_request, response) => response.writeHead(404).end());
    const limits = { burst: 10, perSecond: 0, maxUnproven: 20 };
    const issuers = wildcard(`${server.url}/*`, { allowPrivateIssuers: true, wildcardLimits: limits });
    const texts: string[] = [];
    for (let i = 0; i < 300; i++)
      texts.push(await failureOf(() => authenticate(tokenOf(`${server.url}/i${i}`), issuers)));
    expect(server.requests.length).toBe(10);
    expect(
      texts.filter((text) => text.startsWith('OVERLOADED: too many issuers that were not seen before')).length,
    ).toBe(290);
    expect([...issuers.caches.pools.values()].map((pool) => pool.size())).toEqual([20]);
  });

  test('a flood of invented issuers does not displace one that answered', async () => {
    const server = await serve((request, response, url) => {
      if (request.url?.startsWith('/good') || request.url === '/keys') goodIssuer(request, response, url);
      else response.writeHead(404).end();
    });
    const limits = { burst: 5, perSecond: 0, maxUnproven: 3, maxProven: 2 };
    const issuers = wildcard(`${server.url}/*`, { allowPrivateIssuers: true, wildcardLimits: limits });
    await authenticate(tokenOf(`${server.url}/good`), issuers);
    for (let i = 0; i < 50; i++) await failureOf(() => authenticate(tokenOf(`${server.url}/i${i}`), issuers));
    const before = server.requests.length;
    expect((await authenticate(tokenOf(`${server.url}/good`), issuers)).issuer).toBe(`${server.url}/good`);
    expect(server.requests.length).toBe(before);
    expect(issuers.status().map(({ issuer, state }) => [issuer, state])).toEqual([[`${server.url}/good`, 'fresh']]);
  });

  test('only so many unknown issuers are asked at once', async () => {
    const server = await serve(() => undefined);
    const issuers = wildcard(`${server.url}/*`, {
      allowPrivateIssuers: true,
      wildcardLimits: { maxConcurrent: 3 },
      fetcher: directFetcher(300),
    });
    const work = Array.from({ length: 20 }, (_, i) =>
      failureOf(() => authenticate(tokenOf(`${server.url}/i${i}`), issuers)),
    );
    const texts = await Promise.all(work);
    expect(texts.filter((text) => text.startsWith('OVERLOADED')).length).toBe(17);
    expect(server.requests.length).toBe(3);
  });
});
