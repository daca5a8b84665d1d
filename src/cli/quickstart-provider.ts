/**
 * The demo identity provider of `mayfly quickstart`: a real OpenID Connect provider (npm oidc-provider) on the loopback
 * interface in which one made-up person is always logged in and agrees to everything. Never for more than a demo.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { JWK } from 'jose';
import type { Configuration, Provider } from 'oidc-provider';
import { CommandError } from './request-io.js';

export interface DemoProviderOptions {
  /** `http://127.0.0.1:PORT`; the provider listens there. */
  readonly issuer: string;
  /** The person's verified email address, who is also the subject of the tokens. */
  readonly email: string;
  /** Private RSA key that signs the tokens. */
  readonly signingKey: JWK;
  /** Signs the browser's cookies. */
  readonly cookieSecret: string;
}

export interface DemoProvider {
  readonly issuer: string;
  close(): Promise<void>;
}

/** The client that every Sigstore tool says it is, and the audience of its tokens. */
export const demoClientId = 'sigstore';

const lifetimeSeconds = 60 * 60;
const interactionPath = '/interaction/';

/**
 * Starts the provider and listens.
 * @throws CommandError 1 when the optional dependency is not installed; the listen error as it came.
 */
export async function startDemoProvider(options: DemoProviderOptions): Promise<DemoProvider> {
  const provider = await withoutNotices(async () => {
    const { Provider } = await loadProvider();
    return new Provider(options.issuer, configuration(options));
  });
  const callback = provider.callback();
  const server = createServer((request, response) => {
    const answer = request.url?.startsWith(interactionPath)
      ? agree(provider, options.email, request, response)
      : callback(request, response);
    answer.catch(() => response.destroy());
  });
  const { hostname, port } = new URL(options.issuer);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(Number(port), hostname, resolve);
  });
  return {
    issuer: options.issuer,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function loadProvider(): Promise<typeof import('oidc-provider')> {
  try {
    return await import('oidc-provider');
  } catch (cause) {
    throw new CommandError(
      1,
      'its demo identity provider is the optional npm package oidc-provider, which is not installed here (the container ' +
        'image leaves it out, and so does "npm install --omit=optional"); install mayfly with its optional packages',
      cause,
    );
  }
}

function configuration({ email, signingKey, cookieSecret }: DemoProviderOptions): Configuration {
  return {
    clients: [
      {
        client_id: demoClientId,
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
        response_types: ['code'],
        // For a native client any port of these matches (RFC 8252 Section 7.3).
        redirect_uris: ['http://localhost/auth/callback', 'http://127.0.0.1/auth/callback'],
      },
    ],
    jwks: { keys: [signingKey] },
    cookies: { keys: [cookieSecret] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    // Sigstore clients read the email from the ID token; none asks the userinfo endpoint.
    conformIdTokenClaims: false,
    findAccount: (_context, accountId) => ({
      accountId,
      claims: () => ({ sub: accountId, email, email_verified: true }),
    }),
    interactions: { url: (_context, interaction) => interactionPath + interaction.uid },
    features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true } },
    // Each is named because oidc-provider warns on the console of those that are not.
    ttl: {
      IdToken: lifetimeSeconds,
      AccessToken: lifetimeSeconds,
      Session: lifetimeSeconds,
      Grant: lifetimeSeconds,
      Interaction: lifetimeSeconds,
      DeviceCode: lifetimeSeconds,
    },
    renderError: (context, { error, error_description }) => {
      context.type = 'text/plain';
      context.body = `${error}: ${error_description ?? ''}\n`;
    },
  };
}

/** Where a login page and a consent page would be: the person is logged in and grants what was asked for. */
async function agree(
  provider: Provider,
  email: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { params } = await provider.interactionDetails(request, response);
  const grant = new provider.Grant({ accountId: email, clientId: String(params.client_id) });
  grant.addOIDCScope(String(params.scope ?? 'openid'));
  const grantId = await grant.save();
  await provider.interactionFinished(request, response, { login: { accountId: email }, consent: { grantId } });
}

/**
 * oidc-provider greets every start with notices on the console (Node's version, its in-memory store) that mean nothing
 * in a demo and would stand in the middle of quickstart's report. Anything else printed meanwhile goes through.
 */
async function withoutNotices<T>(start: () => Promise<T>): Promise<T> {
  const { info, warn } = console;
  const quiet =
    (print: typeof console.info) =>
    (...values: unknown[]): void => {
      if (!/oidc-provider (NOTICE|WARNING)/.test(String(values[0]))) print(...values);
    };
  console.info = quiet(info);
  console.warn = quiet(warn);
  try {
    return await start();
  } finally {
    console.info = info;
    console.warn = warn;
  }
}
