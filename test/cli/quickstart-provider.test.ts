import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createLocalJWKSet, exportJWK, type JSONWebKeySet, jwtVerify } from 'jose';
import { loginWithBrowser } from '../../src/cli/login.js';
import { headlessBrowser } from '../../src/cli/quickstart-browser.js';
import { type DemoProvider, startDemoProvider } from '../../src/cli/quickstart-provider.js';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe('the demo provider', () => {
  let provider: DemoProvider;

  beforeEach(async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    provider = await startDemoProvider({
      issuer: `http://127.0.0.1:${await freePort()}`,
      email: 'jane@example.com',
      signingKey: { ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: 'demo' },
      cookieSecret: 'only for this test',
    });
  });

  afterEach(() => provider.close());

  test('gives a token for the demo person through the authorization code flow with PKCE', async () => {
    const said: string[] = [];
    const token = await loginWithBrowser(
      { issuer: provider.issuer, clientId: 'sigstore' },
      { err: (line) => said.push(line), fetch, openBrowser: (url) => headlessBrowser(url, fetch) },
    );
    const jwks = (await (await fetch(`${provider.issuer}/jwks`)).json()) as JSONWebKeySet;
    const { payload } = await jwtVerify(token, createLocalJWKSet(jwks), {
      issuer: provider.issuer,
      audience: 'sigstore',
    });
    expect(payload).toMatchObject({ sub: 'jane@example.com', email: 'jane@example.com', email_verified: true });
    expect(said.join('')).toContain(provider.issuer);
  });

  test('loginWithBrowser says that the provider refuses a client it does not know', async () => {
    const login = loginWithBrowser(
      { issuer: provider.issuer, clientId: 'somebody-else', timeoutMs: 50 },
      { err: () => undefined, fetch, openBrowser: (url) => headlessBrowser(url, fetch) },
    );
    await expect(login).rejects.toMatchObject({ exitCode: 1, message: 'nobody logged in in time' });
  });
});
