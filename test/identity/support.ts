import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { AppError } from '../../src/errors.js';
import { createFetcher } from '../../src/identity/fetcher.js';
import { toPrincipal } from '../../src/identity/issuer-types.js';
import { createIssuers, type Issuers, type IssuersDeps } from '../../src/identity/issuers.js';
import type { Principal } from '../../src/identity/principal.js';
import { parseToken, verifyToken } from '../../src/identity/token.js';

/** The moment all these tests happen at, in milliseconds; claims are relative to it. */
export const nowMs = 1_800_000_000_000;
export const now = nowMs / 1000;
export const clock = () => nowMs;

/** Made once: generating RSA keys is the slowest thing these tests do. */
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
export const rsaKey = rsa.privateKey;
export const ecKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

export const b64 = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A compact JWS signed with RS256 over header and payload exactly as given (text stays text). */
export function signedToken(header: unknown, payload: unknown, key: KeyObject = rsaKey): string {
  const input = `${b64(header)}.${b64(payload)}`;
  return `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`;
}

export const header = { alg: 'RS256', kid: 'k1', typ: 'JWT' };

export const times = { iat: now, nbf: now, exp: now + 600 };

export function token(claims: Record<string, unknown>, headerFields: Record<string, unknown> = header): string {
  return signedToken(headerFields, { aud: 'sigstore', ...times, ...claims });
}

export const publicJwk = (key: KeyObject, kid: string, extra: object = {}) => ({
  ...Object.fromEntries(Object.entries(key.export({ format: 'jwk' })).filter(([name]) => !isPrivateMember(name))),
  kid,
  ...extra,
});

const isPrivateMember = (name: string): boolean => ['d', 'p', 'q', 'dp', 'dq', 'qi'].includes(name);

export const jwks = { keys: [publicJwk(rsaKey, 'k1')] };

/** Issuers of a YAML text whose key sets all hold `rsaKey` as k1: nothing goes over the network. */
export function offlineIssuers(yaml: string, deps: Partial<IssuersDeps> = {}): Issuers {
  const config = parseIdentityConfig(yaml, '/etc/identity.yaml');
  return createIssuers(config, { fetcher: everyIssuer(), clock, ...deps });
}

/** A fetcher that plays every issuer at once, as if each published `keys`. */
export function everyIssuer(document: object = jwks) {
  const asked: string[] = [];
  return {
    asked,
    async get(url: URL): Promise<string> {
      asked.push(url.href);
      const wellKnown = '/.well-known/openid-configuration';
      if (!url.pathname.endsWith(wellKnown)) return JSON.stringify(document);
      const issuer = url.href.slice(0, -wellKnown.length);
      return JSON.stringify({ issuer, jwks_uri: `${issuer}/keys` });
    },
  };
}

export async function authenticate(jwt: string, issuers: Issuers): Promise<Principal> {
  const raw = parseToken(jwt);
  const issuer = issuers.match(raw.issuer);
  return toPrincipal(await verifyToken(raw, issuer, clock), issuer);
}

/** The AppError something fails with, as `CODE: detail`; fails the test if it does not fail so. */
export async function failureOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof AppError) return `${error.code}: ${error.detail}`;
    throw error;
  }
  throw new Error('expected an AppError, got none');
}

export interface LocalServer {
  readonly url: string;
  readonly requests: string[];
  close(): Promise<void>;
}

export type Handler = (request: IncomingMessage, response: ServerResponse, url: string) => void;

/** A real HTTP server on loopback. */
export async function listen(handler: Handler): Promise<LocalServer> {
  const requests: string[] = [];
  let url = '';
  const server: Server = createServer((request, response) => {
    requests.push(request.url ?? '');
    handler(request, response, url);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** An issuer as it should be: every path below it is an issuer too, so that wildcards find many. */
export const goodIssuer: Handler = (request, response, url) => {
  const path = request.url ?? '';
  const suffix = '/.well-known/openid-configuration';
  const issuer = url + path.slice(0, -suffix.length);
  response.end(JSON.stringify(path.endsWith(suffix) ? { issuer, jwks_uri: `${url}/keys` } : jwks));
};

export const directFetcher = (timeoutMs = 2_000) => createFetcher({ proxyFor: () => undefined, timeoutMs });
