import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { exportJWK, type JWTPayload, SignJWT } from 'jose';

type Algorithm = 'RS256' | 'ES256' | 'EdDSA';

const generate: Record<Algorithm, () => { privateKey: KeyObject; publicKey: KeyObject }> = {
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
};

/** A small OpenID Connect issuer for tests: discovery and JWKS over loopback HTTP, tokens on demand. */
export interface TestIssuer {
  readonly url: string;
  /** A token with sensible times; `claims` override, and a claim of undefined is left out. */
  token(claims?: JWTPayload, header?: { kid?: string | undefined; alg?: Algorithm }): Promise<string>;
  /** Replaces the key by a new one under a new kid. */
  rotate(): Promise<void>;
  /** How often discovery and JWKS were fetched. */
  readonly fetches: { discovery: number; jwks: number };
  close(): Promise<void>;
}

export async function startIssuer(
  options: { alg?: Algorithm; port?: number; host?: string } = {},
): Promise<TestIssuer> {
  const alg = options.alg ?? 'RS256';
  let generation = 1;
  let pair = generate[alg]();
  const fetches = { discovery: 0, jwks: 0 };
  const host = options.host ?? '127.0.0.1';
  let url = '';
  const server = createServer((request, response) => {
    const answer = (body: unknown): void => {
      response.setHeader('Content-Type', 'application/json').end(JSON.stringify(body));
    };
    if (request.url === '/.well-known/openid-configuration') {
      fetches.discovery++;
      answer({ issuer: url, jwks_uri: `${url}/jwks`, id_token_signing_alg_values_supported: [alg] });
    } else if (request.url === '/jwks') {
      fetches.jwks++;
      void exportJWK(pair.publicKey).then((jwk) =>
        answer({ keys: [{ ...jwk, kid: `k${generation}`, alg, use: 'sig' }] }),
      );
    } else {
      response.writeHead(404).end();
    }
  });
  const port = await listening(server, host, options.port ?? 0);
  url = `http://${host}:${port}`;
  return {
    url,
    fetches,
    async token(claims = {}, header = {}) {
      const now = Math.floor(Date.now() / 1000);
      const payload = { iss: url, aud: 'sigstore', sub: 'user-1', iat: now, exp: now + 3600, ...claims };
      const kid = 'kid' in header ? header.kid : `k${generation}`;
      return new SignJWT(JSON.parse(JSON.stringify(payload)))
        .setProtectedHeader({ alg: header.alg ?? alg, ...(kid === undefined ? {} : { kid }) })
        .sign(pair.privateKey);
    },
    async rotate() {
      generation++;
      pair = generate[alg]();
    },
    close: () => closed(server),
  };
}

function listening(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      const address = server.address();
      resolve(address !== null && typeof address === 'object' ? address.port : 0);
    });
  });
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
