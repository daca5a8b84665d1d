import type { ServerResponse } from 'node:http';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { createIssuers, type IssuersDeps } from '../../src/identity/issuers.js';
import {
  authenticate,
  clock,
  directFetcher,
  failureOf,
  goodIssuer,
  type Handler,
  header,
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
const named = (url: string, deps: Partial<IssuersDeps> = {}) =>
  createIssuers(
    parseIdentityConfig(
      JSON.stringify({ 'oidc-issuers': { [url]: { 'client-id': 'sigstore', type: 'uri', 'subject-domain': url } } }),
      'id.yaml',
    ),
    {
      fetcher: directFetcher(),
      clock,
      ...deps,
    },
  );
const kubernetes = { sub: 's', 'kubernetes.io': { namespace: 'n', serviceaccount: { name: 'a' } } };
const tokenOf = (iss: string, kid = 'k1') => token({ iss, ...kubernetes }, { ...header, kid });
const refusal = (url: string) => failureOf(() => authenticate(token({ iss: url, sub: `${url}/u` }), named(url)));

/** An issuer of which one of the two documents is answered by `hostile`. */
const except = (
  path: '/keys' | typeof wellKnown,
  hostile: (response: ServerResponse, url: string) => void,
): Handler => {
  return (request, response, url) => {
    if (request.url === path) hostile(response, url);
    else goodIssuer(request, response, url);
  };
};
const redirect = (location: string) => (response: ServerResponse) => response.writeHead(302, { location }).end();

describe('discovery', () => {
  test('works with an honest issuer over a real connection', async () => {
    const server = await serve(goodIssuer);
    const principal = await authenticate(token({ iss: server.url, sub: `${server.url}/u` }), named(server.url));
    expect(principal.san.value).toBe(`${server.url}/u`);
    expect(server.requests).toEqual([wellKnown, '/keys']);
  });

  test('follows redirects on the same host', async () => {
    const server = await serve((request, response, url) => {
      if (request.url === wellKnown) redirect('/moved')(response);
      else if (request.url === '/moved') response.end(JSON.stringify({ issuer: url, jwks_uri: `${url}/keys` }));
      else goodIssuer(request, response, url);
    });
    expect((await authenticate(token({ iss: server.url, sub: `${server.url}/u` }), named(server.url))).issuer).toBe(
      server.url,
    );
  });

  test('does not follow a redirect to another host', async () => {
    const other = await serve(goodIssuer);
    for (const path of ['/keys', wellKnown] as const) {
      const server = await serve(except(path, redirect(`${other.url}/keys`)));
      expect(await refusal(server.url)).toContain('it redirected to another host or scheme');
    }
    expect(other.requests).toEqual([]);
  });

  test.each([
    ['a redirect to another scheme', 'ftp://127.0.0.1/'],
    ['a redirect to no URL', 'http://'],
    ['a redirect with a password', 'http://u:p@127.0.0.1/'],
  ])('refuses %s', async (_what, location) => {
    const server = await serve(except(wellKnown, redirect(location)));
    expect(await refusal(server.url)).toMatch(/^ISSUER_MISCONFIGURED: .* it redirected to/);
  });

  test('stops after three redirects', async () => {
    const server = await serve(except(wellKnown, redirect(wellKnown)));
    expect(await refusal(server.url)).toContain('it redirected more than 3 times');
    expect(server.requests.length).toBe(4);
  });

  test('refuses a document of another issuer', async () => {
    const server = await serve(
      except(wellKnown, (response, url) =>
        response.end(JSON.stringify({ issuer: 'https://evil.example', jwks_uri: `${url}/keys` })),
      ),
    );
    expect(await refusal(server.url)).toContain('is for issuer "https://evil.example"; expected "http://127.0.0.1');
  });

  test.each([
    ['a huge body', 'x'.repeat(2_000_000), 'its answer is longer than 1048576 bytes'],
    ['no JSON', '<html>', 'its discovery document is not valid JSON'],
    ['an empty body', '', 'its discovery document is not valid JSON'],
    ['deep nesting', '['.repeat(500_000), 'its discovery document is not valid JSON'],
  ])('refuses %s', async (_what, body, reason) => {
    const server = await serve(except(wellKnown, (response) => response.end(body)));
    expect(await refusal(server.url)).toContain(reason);
  });

  test('gives up on a body without end', async () => {
    const server = await serve(
      except('/keys', (response) => {
        const more = () => {
          while (!response.destroyed && response.write('x'.repeat(65_536)));
        };
        response.on('drain', more);
        more();
      }),
    );
    expect(await refusal(server.url)).toContain('key set: its answer is longer than 1048576 bytes');
  });

  test.each([
    ['never answers', () => undefined],
    ['stops in the middle of the body', (response: ServerResponse) => response.write('{"issuer"')],
    [
      'stops in the middle of the headers',
      (response: ServerResponse) => response.socket?.write('HTTP/1.1 200 OK\r\nx: '),
    ],
  ])('gives up on an issuer that %s', async (_what, hostile) => {
    const server = await serve(except(wellKnown, hostile));
    const issuers = named(server.url, { fetcher: directFetcher(100) });
    const work = () => authenticate(token({ iss: server.url, sub: `${server.url}/u` }), issuers);
    expect(await failureOf(work)).toContain('ISSUER_UNAVAILABLE: the keys of issuer');
    expect(await failureOf(work)).toContain('it did not answer within 0.1 s');
    expect(server.requests.length).toBe(1);
  });

  test.each([
    [503, 'ISSUER_UNAVAILABLE'],
    [429, 'ISSUER_UNAVAILABLE'],
    [404, 'ISSUER_MISCONFIGURED'],
    [204, 'ISSUER_MISCONFIGURED'],
  ])('tells status %i as %s', async (status, code) => {
    const server = await serve(except(wellKnown, (response) => response.writeHead(status).end()));
    expect(await refusal(server.url)).toMatch(
      new RegExp(`^${code}: .*it answered with status ${status}; expected 200`),
    );
  });

  test('refuses a compressed body, which could be a bomb', async () => {
    const server = await serve(
      except(wellKnown, (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('x')),
    );
    expect(await refusal(server.url)).toContain('compressed encoding');
  });

  test('tells an issuer that is down as unavailable, and does not ask it at the start', async () => {
    const server = await serve(goodIssuer);
    const issuers = named(server.url);
    await server.close();
    expect(server.requests).toEqual([]);
    expect(await failureOf(() => authenticate(token({ iss: server.url, sub: `${server.url}/u` }), issuers))).toContain(
      'ISSUER_UNAVAILABLE: the keys of issuer',
    );
  });

  test('a flood of unknown kids makes one more question, not thousands', async () => {
    const server = await serve(goodIssuer);
    const issuers = named(server.url);
    const work = Array.from({ length: 300 }, (_, i) =>
      failureOf(() => authenticate(tokenOf(server.url, `kid-${i}`), issuers)),
    );
    for (const text of await Promise.all(work)) expect(text).toMatch(/^TOKEN_KEY_UNKNOWN/);
    expect(server.requests.filter((path) => path === '/keys').length).toBe(2);
  });
});
