import { createServer, type Server } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { loginWithBrowser, loginWithDevice } from '../../src/cli/login.js';
import { listenForRedirect } from '../../src/cli/login-redirect.js';

type Route = (body: URLSearchParams) => { readonly status?: number; readonly body: object };

/** A provider of which each test says what it answers. */
describe('login', () => {
  let server: Server;
  let issuer: string;
  let routes: Record<string, Route>;
  let said: string;

  beforeEach(async () => {
    said = '';
    server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const route = routes[new URL(request.url ?? '/', issuer).pathname];
      const answer = route?.(new URLSearchParams(Buffer.concat(chunks).toString()));
      response.writeHead(answer === undefined ? 404 : (answer.status ?? 200), { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer?.body ?? {}));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    issuer = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
    routes = {
      '/.well-known/openid-configuration': () => ({
        body: {
          issuer,
          authorization_endpoint: `${issuer}/auth`,
          token_endpoint: `${issuer}/token`,
          device_authorization_endpoint: `${issuer}/device`,
          jwks_uri: `${issuer}/jwks`,
          response_types_supported: ['code'],
          id_token_signing_alg_values_supported: ['RS256'],
        },
      }),
    };
  });

  afterEach(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });

  const io = (openBrowser: (url: string) => Promise<boolean>) => ({
    fetch,
    openBrowser,
    err: (line: string) => {
      said += line;
    },
  });
  const nobody = io(async () => false);

  function idToken(nonce?: string): string {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: issuer, aud: 'sigstore', sub: 'jane', iat: now, exp: now + 60, nonce };
    return `${part({ alg: 'RS256' })}.${part(claims)}.c2ln`;
  }

  test('a browser login sends state, nonce and a PKCE challenge, and redeems the code with the verifier', async () => {
    let asked = new URLSearchParams();
    let redeemed = new URLSearchParams();
    routes['/token'] = (body) => {
      redeemed = body;
      const id_token = idToken(asked.get('nonce') ?? '');
      return { body: { access_token: 'a', token_type: 'bearer', id_token } };
    };
    const browser = io(async (url) => {
      asked = new URL(url).searchParams;
      const back = new URL(asked.get('redirect_uri') ?? '');
      back.search = new URLSearchParams({ code: 'the-code', state: asked.get('state') ?? '' }).toString();
      const page = await fetch(back);
      expect(await page.text()).toContain('You are logged in');
      return true;
    });
    const token = await loginWithBrowser({ issuer, clientId: 'sigstore' }, browser);
    expect(token.split('.')).toHaveLength(3);
    expect(Object.fromEntries(asked)).toMatchObject({
      client_id: 'sigstore',
      response_type: 'code',
      scope: 'openid email',
      code_challenge_method: 'S256',
      redirect_uri: expect.stringMatching(/^http:\/\/localhost:\d+\/auth\/callback$/),
    });
    expect(redeemed.get('code')).toBe('the-code');
    expect(redeemed.get('code_verifier')).toHaveLength(43);
  });

  test.each([
    [
      'the reason of the provider when it refuses',
      { error: 'access_denied', error_description: 'not you' },
      'access_denied: not you',
    ],
    ['an answer with another state', { code: 'c', state: 'forged' }, 'state'],
  ])('a browser login fails with %s', async (_what, answer, message) => {
    const browser = io(async (url) => {
      const asked = new URL(url).searchParams;
      const back = new URL(asked.get('redirect_uri') ?? '');
      back.search = new URLSearchParams({ state: asked.get('state') ?? '', ...answer } as Record<
        string,
        string
      >).toString();
      await (await fetch(back)).text();
      return true;
    });
    const login = loginWithBrowser({ issuer, clientId: 'sigstore' }, browser);
    await expect(login).rejects.toMatchObject({ exitCode: 1, message: expect.stringContaining(message) });
  });

  test('a device login shows the code and returns the token once the user agreed', async () => {
    routes['/device'] = () => ({
      body: {
        device_code: 'd',
        user_code: 'ABCD-EFGH',
        verification_uri: `${issuer}/go`,
        expires_in: 60,
        interval: 0.01,
      },
    });
    let polls = 0;
    routes['/token'] = () => {
      polls += 1;
      if (polls === 1) return { status: 400, body: { error: 'authorization_pending' } };
      return { body: { access_token: 'a', token_type: 'bearer', id_token: idToken() } };
    };
    const token = await loginWithDevice({ issuer, clientId: 'sigstore' }, nobody);
    expect(token.split('.')).toHaveLength(3);
    expect(said).toContain(`open ${issuer}/go and enter the code ABCD-EFGH`);
    expect(polls).toBe(2);
  });

  test('a device login without an ID token in the answer says so', async () => {
    routes['/device'] = () => ({
      body: { device_code: 'd', user_code: 'A', verification_uri: `${issuer}/go`, expires_in: 60, interval: 0.01 },
    });
    routes['/token'] = () => ({ body: { access_token: 'a', token_type: 'bearer' } });
    const login = loginWithDevice({ issuer, clientId: 'sigstore' }, nobody);
    await expect(login).rejects.toThrow('gave no ID token');
  });

  test.each([
    ['an issuer that is no URL', 'issuer.example', 2, 'is not a URL'],
    ['http to another machine', 'http://issuer.example', 2, 'is not https'],
    ['an issuer that is not there', 'http://127.0.0.1:1', 1, 'the login at http://127.0.0.1:1 failed'],
  ])('%s is refused', async (_what, url, exitCode, message) => {
    const login = loginWithBrowser({ issuer: url, clientId: 'sigstore' }, nobody);
    await expect(login).rejects.toMatchObject({ exitCode, message: expect.stringContaining(message) });
  });

  test('a document that names another issuer is refused', async () => {
    const document = routes['/.well-known/openid-configuration']?.(new URLSearchParams()).body;
    routes['/.well-known/openid-configuration'] = () => ({ body: { ...document, issuer: 'https://evil.example' } });
    await expect(loginWithBrowser({ issuer, clientId: 'sigstore' }, nobody)).rejects.toMatchObject({ exitCode: 1 });
  });

  test('the loopback server answers nothing but the callback, and says when its port is taken', async () => {
    const redirect = await listenForRedirect(0);
    const { origin, port } = new URL(redirect.url);
    expect((await fetch(`${origin}/?code=x`)).status).toBe(404);
    expect((await fetch(redirect.url)).status).toBe(404);
    await expect(listenForRedirect(Number(port))).rejects.toThrow(`cannot listen on port ${port}`);
    await expect(redirect.wait(1)).rejects.toThrow('nobody logged in in time');
    await redirect.close();
  });
});
