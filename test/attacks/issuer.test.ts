import type { ServerResponse } from 'node:http';
import { goodIssuer, type Handler, jwks, type LocalServer, listen } from '../identity/support.js';
import { claims, closeAll, jwt, keep, type Lab, openLab, refusal } from './lab.js';

/** Issuers that lie, hang or do not exist, against a running server. */

const wellKnown = '/.well-known/openid-configuration';
const header = { alg: 'RS256', kid: 'k1' };

const serve = async (handler: Handler): Promise<LocalServer> => keep(await listen(handler));
const user = { 'client-id': 'sigstore', type: 'username', 'subject-domain': '127.0.0.1' };
const named = (url: string): object => ({ 'oidc-issuers': { [url]: user } });
const wildcard = (...patterns: string[]): object => ({
  'meta-issuers': Object.fromEntries(
    patterns.map((pattern) => [pattern, { 'client-id': 'sigstore', type: 'chainguard-identity' }]),
  ),
});
const allowPrivate = { flags: { 'allow-private-issuers': 'true' } };

async function refused(lab: Lab, iss: string, kid = 'k1'): Promise<string> {
  const token = jwt(claims({ iss }), { ...header, kid });
  return refusal(await lab.ask(token), token);
}

/** An issuer of which one document is answered by `hostile`. */
const except =
  (path: string, hostile: (response: ServerResponse, url: string) => void): Handler =>
  (request, response, url) => {
    if (request.url === path) hostile(response, url);
    else goodIssuer(request, response, url);
  };

afterEach(closeAll);

describe('a wildcard', () => {
  test.each([
    'http://localhost?issuer=https://oidc.eks.us-east-1.amazonaws.com/id/A1',
    'http://localhost/?https://oidc.eks.us-east-1.amazonaws.com/id/A1',
    'https://evil.example/https://oidc.eks.us-east-1.amazonaws.com/id/A1',
    'https://oidc.eks.us-east-1.amazonaws.com/id/A1/../../x',
    'https://oidc.eks.us-east-1.amazonaws.com/id/A1?x=y',
    'https://oidc.eks.us-east-1.amazonaws.com/id/A1#x',
    'https://oidc.eks.us-east-1.amazonaws.com/id/A1\n',
    'https://oidc.eks.evil.example/.amazonaws.com/id/A1',
    'https://oidc.eks.a.b.amazonaws.com/id/A1',
    'https://oidc.eks.a@evil.amazonaws.com/id/A1',
    'https://oidcXeks.us-east-1.amazonaws.com/id/A1',
    'https://oidc.eks..amazonaws.com/id/A1',
    'HTTPS://oidc.eks.us-east-1.amazonaws.com/id/A1',
  ])('stands for a part and not for %j (CVE-2026-22772)', async (iss) => {
    const lab = await openLab(wildcard('https://oidc.eks.*.amazonaws.com/id/*'), allowPrivate);
    expect(await refused(lab, iss)).toMatch(/^400 ISSUER_UNKNOWN: /);
  });

  test('that matches works, on a private address only where the operator allows it', async () => {
    const issuer = await serve(goodIssuer);
    const iss = `${issuer.url}/a`;
    const careful = await openLab(wildcard(`${issuer.url}/*`));
    expect(await refused(careful, iss)).toMatch(/^400 ISSUER_MISCONFIGURED: .* address that is not public/);
    expect(issuer.requests).toEqual([]);
    const open = await openLab(wildcard(`${issuer.url}/*`), allowPrivate);
    expect((await open.ask(jwt(claims({ iss })))).status).toBe(200);
  });

  test('does not match a name that resolves to loopback', async () => {
    const issuer = await serve(goodIssuer);
    const { port } = new URL(issuer.url);
    const lab = await openLab(wildcard(`http://*:${port}`));
    expect(await refused(lab, `http://localhost:${port}`)).toMatch(/address that is not public/);
    expect(issuer.requests).toEqual([]);
  });

  test.each([
    ['AWS, GCP and Azure metadata', 'http://169.254.169.254/keys'],
    ['metadata in IPv6', 'http://[fd00:ec2::254]/keys'],
    ['metadata as IPv4 in IPv6', 'http://[::ffff:169.254.169.254]/keys'],
    ['metadata as a number', 'http://2852039166/keys'],
    ["Azure's wire server", 'http://168.63.129.16/keys'],
    ['the unspecified address', 'http://0.0.0.0/keys'],
  ])('does not lead to keys on %s, even where private addresses are allowed', async (_what, jwksUri) => {
    const issuer = await serve(
      except(`/a${wellKnown}`, (response, url) =>
        response.end(JSON.stringify({ issuer: `${url}/a`, jwks_uri: jwksUri })),
      ),
    );
    const lab = await openLab(wildcard(`${issuer.url}/*`), allowPrivate);
    expect(await refused(lab, `${issuer.url}/a`)).toMatch(/key set: .* address that is not public/);
  });

  test.each([
    'http://10.0.0.1/keys',
    'http://127.0.0.1:1/keys',
    'http://[::1]:1/keys',
    'http://vault.internal/keys',
    'http://vault/keys',
  ])('of a public issuer does not lead to keys on %s', async (jwksUri) => {
    // The proxy plays the internet: it answers for a public issuer.
    const iss = 'http://a.tenants.example';
    const proxy = await serve((_request, response) => response.end(JSON.stringify({ issuer: iss, jwks_uri: jwksUri })));
    const lab = await openLab(wildcard('http://*.tenants.example'), { environment: { HTTP_PROXY: proxy.url } });
    expect(await refused(lab, iss)).toMatch(/key set: .* address that is not public/);
    expect(proxy.requests).toEqual([`${iss}${wellKnown}`]);
  });

  test('flooded with invented issuers asks for a bounded number of them and keeps serving', async () => {
    const issuer = await serve((request, response, url) => {
      if (request.url === `/honest${wellKnown}` || request.url === '/keys') goodIssuer(request, response, url);
      else response.writeHead(404).end();
    });
    const lab = await openLab(wildcard(`${issuer.url}/*`), allowPrivate);
    const honest = jwt(claims({ iss: `${issuer.url}/honest` }));
    expect((await lab.ask(honest)).status).toBe(200);
    const flood = async (from: number): Promise<void> => {
      for (let i = from; i < from + 150; i++) await refused(lab, `${issuer.url}/invented-${i}`);
    };
    await Promise.all(Array.from({ length: 8 }, (_, i) => flood(i * 1_000)));
    const asked = issuer.requests.filter((path) => path.includes('invented'));
    expect(asked.length).toBeGreaterThan(0);
    // 100 at once and 5 a second after that, of 1,200; the flood takes some seconds.
    expect(asked.length).toBeLessThan(400);
    const before = issuer.requests.length;
    expect((await lab.ask(honest)).status).toBe(200);
    expect(issuer.requests.length).toBe(before);
    expect(await (await fetch(`${lab.server.url}/api/v2/configuration`)).text()).not.toContain('invented');
    expect(await (await fetch(lab.server.metricsUrl)).text()).not.toContain('invented');
  });
});

describe('discovery', () => {
  test.each([wellKnown, '/keys'])('of %s does not follow a redirect to another host', async (path) => {
    const other = await serve(goodIssuer);
    const issuer = await serve(
      except(path, (response) => response.writeHead(302, { location: `${other.url}${path}` }).end()),
    );
    const lab = await openLab(named(issuer.url));
    expect(await refused(lab, issuer.url)).toMatch(
      /^400 ISSUER_MISCONFIGURED: .* redirected to another host or scheme/,
    );
    expect(other.requests).toEqual([]);
  });

  test('does not follow a redirect to another scheme, and takes no keys over http for an https issuer', async () => {
    const issuer = await serve(
      except(wellKnown, (response, url) => response.writeHead(301, { location: url.replace('http:', 'https:') }).end()),
    );
    const lab = await openLab(named(issuer.url));
    expect(await refused(lab, issuer.url)).toMatch(/redirected to another host or scheme/);
  });

  test.each([
    ['another issuer', (url: string) => ({ issuer: 'https://accounts.google.com', jwks_uri: `${url}/keys` })],
    ['its issuer with a slash more', (url: string) => ({ issuer: `${url}/`, jwks_uri: `${url}/keys` })],
    ['no issuer', (url: string) => ({ jwks_uri: `${url}/keys` })],
    ['its issuer in an array', (url: string) => ({ issuer: [url], jwks_uri: `${url}/keys` })],
    ['a jwks_uri of another scheme', (url: string) => ({ issuer: url, jwks_uri: 'file:///etc/passwd' })],
    ['a jwks_uri with a password', (url: string) => ({ issuer: url, jwks_uri: url.replace('//', '//u:p@') })],
    ['no jwks_uri', (url: string) => ({ issuer: url })],
  ])('of a document with %s is refused', async (_what, document) => {
    const issuer = await serve(except(wellKnown, (response, url) => response.end(JSON.stringify(document(url)))));
    const lab = await openLab(named(issuer.url));
    expect(await refused(lab, issuer.url)).toMatch(/^400 ISSUER_MISCONFIGURED: /);
    expect(issuer.requests).toEqual([wellKnown]);
  });

  const endless = (response: ServerResponse): void => {
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
    };
    response.on('drain', more);
    more();
  };
  test.each([
    ['a huge document', wellKnown, (response: ServerResponse) => response.end('x'.repeat(20_000_000))],
    ['an endless document', wellKnown, endless],
    ['an endless key set', '/keys', endless],
    [
      'a compressed document',
      wellKnown,
      (response: ServerResponse) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(),
    ],
    ['a document of brackets', wellKnown, (response: ServerResponse) => response.end('['.repeat(900_000))],
    [
      '1,000 keys',
      '/keys',
      (response: ServerResponse) => response.end(JSON.stringify({ keys: Array(1_000).fill(jwks.keys[0]) })),
    ],
    ['a key set without keys', '/keys', (response: ServerResponse) => response.end('{"keys":[]}')],
  ])('of %s is given up', async (_what, path, hostile) => {
    const issuer = await serve(except(path, hostile));
    const lab = await openLab(named(issuer.url));
    expect(await refused(lab, issuer.url)).toMatch(/^400 ISSUER_MISCONFIGURED: /);
  });

  test('that never answers holds up only its own tokens, within a time limit, and is not asked again at once', async () => {
    const slow = await serve(() => undefined);
    const issuer = await serve(goodIssuer);
    const lab = await openLab({ 'oidc-issuers': { [slow.url]: user, [issuer.url]: user } });
    const waiting = Promise.all(Array.from({ length: 20 }, () => refused(lab, slow.url)));
    expect((await lab.ask(jwt(claims({ iss: issuer.url })))).status).toBe(200);
    for (const text of await waiting) expect(text).toMatch(/^503 ISSUER_UNAVAILABLE: .* did not answer within 5 s/);
    expect(await refused(lab, slow.url)).toMatch(/^503 ISSUER_UNAVAILABLE: /);
    expect(slow.requests.length).toBe(1);
  });

  test('that is down is 503 with Retry-After, and others go on', async () => {
    const down = await listen(goodIssuer);
    await down.close();
    const lab = await openLab(named(down.url));
    const answer = await lab.ask(jwt(claims({ iss: down.url })));
    expect([answer.status, Number(answer.headers.get('retry-after')) > 0]).toEqual([503, true]);
  });
});

test('a flood of unknown kids makes the server ask the issuer once more, not thousands of times', async () => {
  const issuer = await serve(goodIssuer);
  const lab = await openLab(named(issuer.url));
  const flood = Array.from({ length: 500 }, (_, i) => refused(lab, issuer.url, `invented-${i}`));
  for (const text of await Promise.all(flood)) expect(text).toMatch(/^400 TOKEN_KEY_UNKNOWN: /);
  expect(issuer.requests.filter((path) => path === '/keys').length).toBeLessThanOrEqual(2);
  expect((await lab.ask(jwt(claims({ iss: issuer.url })))).status).toBe(200);
});
