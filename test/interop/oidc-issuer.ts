import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider, { type Configuration } from 'oidc-provider';
import { freePort } from './server-process.js';

const redirectUri = 'https://client.interop.test/callback'; // only ever read from a redirect, never fetched
const defaultClientId = 'sigstore';

/** The claims of a person or machine that may log in; `sub` is its account name. */
export type Claims = Readonly<Record<string, unknown>> & { readonly sub: string };

/** A real OpenID Connect provider on 127.0.0.1. */
export interface OidcIssuer {
  /** The issuer, as in the `iss` of its tokens. */
  readonly url: string;
  /** An ID token of the authorization code flow with PKCE, for the account with this `sub`; its audience is the client's id. */
  idToken(sub: string, clientId?: string): Promise<string>;
  close(): Promise<void>;
}

/** What kind of provider to start. */
export interface OidcIssuerOptions {
  readonly algorithm: 'RS256' | 'ES256';
  readonly accounts: readonly Claims[];
  /** Client ids beside "sigstore", for tokens with another audience. */
  readonly otherClients?: readonly string[];
}

function client(clientId: string, algorithm: OidcIssuerOptions['algorithm']) {
  return {
    client_id: clientId,
    redirect_uris: [redirectUri],
    token_endpoint_auth_method: 'none' as const,
    id_token_signed_response_alg: algorithm,
  };
}

async function configuration(options: OidcIssuerOptions): Promise<Configuration> {
  const { privateKey } = await generateKeyPair(options.algorithm, { extractable: true });
  const key = {
    ...(await exportJWK(privateKey)),
    alg: options.algorithm,
    use: 'sig',
    kid: randomBytes(8).toString('hex'),
  };
  const accounts = new Map(options.accounts.map((claims) => [claims.sub, claims]));
  const claimNames = [...new Set(options.accounts.flatMap((claims) => Object.keys(claims)))];
  return {
    clients: [defaultClientId, ...(options.otherClients ?? [])].map((id) => client(id, options.algorithm)),
    jwks: { keys: [key] },
    enabledJWA: { idTokenSigningAlgValues: [options.algorithm] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    claims: { openid: claimNames },
    conformIdTokenClaims: false, // put the scope's claims into the ID token itself, as the providers that Sigstore uses do
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_ctx, sub) => {
      const claims = accounts.get(sub);
      return claims && { accountId: sub, claims: () => ({ ...claims }) };
    },
    async loadExistingGrant(ctx) {
      const { client, session, provider } = ctx.oidc;
      const grant = new provider.Grant({ clientId: client?.clientId ?? '', accountId: session?.accountId ?? '' });
      grant.addOIDCScope('openid');
      await grant.save();
      return grant;
    },
  };
}

/** Logs in whoever the `login_hint` names, where a person would fill in a form. */
async function logIn(provider: Provider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { params } = await provider.interactionDetails(request, response);
  await provider.interactionFinished(request, response, { login: { accountId: String(params.login_hint) } });
}

/** Follows the provider's redirects with its cookies until it sends the browser back to the client; gives the code. */
async function authorize(start: URL): Promise<string> {
  const cookies = new Map<string, string>();
  let url = start;
  for (let hop = 0; hop < 10; hop += 1) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { redirect: 'manual', headers: { cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [name = '', value = ''] = (line.split(';')[0] ?? '').split('=', 2);
      cookies.set(name, value);
    }
    const location = response.headers.get('location');
    if (location === null) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
    url = new URL(location, url);
    if (url.href.startsWith(redirectUri)) break;
  }
  const code = url.searchParams.get('code');
  if (code === null) throw new Error(`the provider gave no code: ${url.search}`);
  return code;
}

async function idToken(issuer: string, sub: string, clientId: string): Promise<string> {
  const verifier = randomBytes(32).toString('base64url');
  const start = new URL('/auth', issuer);
  start.search = new URLSearchParams({
    client_id: clientId,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope: 'openid',
    login_hint: sub,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  }).toString();
  const body = new URLSearchParams({
    grant_type: 'authorization_code',
    client_id: clientId,
    redirect_uri: redirectUri,
    code: await authorize(start),
    code_verifier: verifier,
  });
  const response = await fetch(new URL('/token', issuer), { method: 'POST', body });
  const answer: unknown = await response.json();
  if (typeof answer === 'object' && answer !== null && 'id_token' in answer && typeof answer.id_token === 'string') {
    return answer.id_token;
  }
  throw new Error(`the token endpoint answered ${response.status}: ${JSON.stringify(answer)}`);
}

async function closeServer(server: Server): Promise<void> {
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
}

/** Starts a provider with one fresh key on a free port. */
export async function startOidcIssuer(options: OidcIssuerOptions): Promise<OidcIssuer> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const provider = new Provider(url, await configuration(options));
  const respond = provider.callback();
  const server = createServer((request, response) => {
    const answered = request.url?.startsWith('/interaction/')
      ? logIn(provider, request, response)
      : respond(request, response);
    Promise.resolve(answered).catch((error: unknown) => response.writeHead(500).end(String(error)));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url,
    idToken: (sub, clientId = defaultClientId) => idToken(url, sub, clientId),
    close: () => closeServer(server),
  };
}
