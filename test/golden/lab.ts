import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { type RunningServer, startServer } from '../../src/server/start.js';

/** Certificates and errors made by the real Fulcio; they lie beside the checkout and are not part of it. */
export const goldenDir = resolve(import.meta.dirname, '../../../shared/golden');
export const haveGolden = existsSync(goldenDir);

export const readGolden = <T>(name: string): T => JSON.parse(readFileSync(join(goldenDir, name), 'utf8')) as T;

/** A server with the golden configuration, whose issuers' keys are ours. */
export interface GoldenLab {
  readonly server: RunningServer;
  /** A token with these claims; times written as "now+N" are filled in. */
  token(claims: Record<string, unknown>, options?: TokenOptions): string;
  close(): Promise<void>;
}

export interface TokenOptions {
  readonly header?: Record<string, unknown>;
  /** Signs with a key that the issuer does not publish. */
  readonly otherKey?: boolean;
  /** Leaves out the usual `iat` and `exp`. */
  readonly asIs?: boolean;
}

const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

export async function startGoldenLab(): Promise<GoldenLab> {
  const dir = mkdtempSync(join(tmpdir(), 'mayfly-golden-'));
  const keys = {
    RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    other: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  };
  const jwks = { keys: [{ ...keys.RS256.publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'RS256', use: 'sig' }] };
  writeFileSync(join(dir, 'jwks.json'), JSON.stringify(jwks));
  writeFileSync(join(dir, 'config.json'), identityConfig(dir));
  const meta = await startMetaIssuer(jwks);
  const server = await startServer(
    {
      host: '127.0.0.1',
      port: '0',
      'grpc-host': '127.0.0.1',
      'grpc-port': '0',
      'metrics-port': '0',
      'data-dir': join(dir, 'data'),
      'config-path': join(dir, 'config.json'),
      'allow-private-issuers': 'true',
      'log-level': 'error',
    },
    { environment: {} },
  );
  return {
    server,
    token: (claims, options = {}) => makeToken(claims, options, keys),
    async close() {
      await server.close();
      meta.closeAllConnections();
      await new Promise((done) => meta.close(done));
    },
  };
}

/** The golden configuration with a key file for each named issuer, so that no test needs their ports. */
function identityConfig(dir: string): string {
  const config = parse(readFileSync(join(goldenDir, 'config.yaml'), 'utf8')) as Record<string, Record<string, object>>;
  for (const issuer of Object.values(config['oidc-issuers'] ?? {}))
    Object.assign(issuer, { 'jwks-file': join(dir, 'jwks.json') });
  const text = JSON.stringify(config);
  parseIdentityConfig(text, 'golden configuration');
  return text;
}

/** The one golden issuer that is found by discovery: http://127.0.0.1:9131/a/b. */
function startMetaIssuer(jwks: object): Promise<Server> {
  const origin = 'http://127.0.0.1:9131';
  const server = createServer((request, response) => {
    const path = request.url?.replace('/.well-known/openid-configuration', '');
    const discovery = { issuer: `${origin}${path}`, jwks_uri: `${origin}/jwks` };
    response.end(JSON.stringify(request.url === '/jwks' ? jwks : discovery));
  });
  return listenInTurn(server);
}

/** The port is part of the golden claims, so test files that run side by side take turns. */
async function listenInTurn(server: Server): Promise<Server> {
  const listen = (): Promise<boolean> =>
    new Promise((done) => {
      server.once('error', () => done(false));
      server.listen(9131, '127.0.0.1', () => done(true));
    });
  for (let attempt = 0; attempt < 300; attempt++) {
    if (await listen()) return server;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('port 9131 of 127.0.0.1, which the golden claims name, stayed taken for 30 s');
}

interface Keys {
  readonly RS256: { readonly privateKey: KeyObject; readonly publicKey: KeyObject };
  readonly ES256: { readonly privateKey: KeyObject };
  readonly other: { readonly privateKey: KeyObject };
}

function makeToken(claims: Record<string, unknown>, options: TokenOptions, keys: Keys): string {
  const now = Math.floor(Date.now() / 1000);
  const filled: Record<string, unknown> =
    options.asIs === true ? { ...claims } : { iat: now, exp: now + 3600, ...claims };
  for (const [name, value] of Object.entries(filled)) {
    const offset = typeof value === 'string' ? /^now([+-][\d.]+)?$/.exec(value) : null;
    if (offset !== null) filled[name] = now + Number(offset[1] ?? 0);
  }
  const header = options.header ?? { alg: 'RS256', kid: 'k1', typ: 'JWT' };
  const input = `${base64url(header)}.${base64url(filled)}`;
  return `${input}.${signature(String(header.alg), input, options, keys).toString('base64url')}`;
}

function signature(alg: string, input: string, options: TokenOptions, keys: Keys): Buffer {
  const bytes = Buffer.from(input);
  if (options.otherKey === true) return sign('sha256', bytes, keys.other.privateKey);
  if (alg === 'ES256') return sign('sha256', bytes, { key: keys.ES256.privateKey, dsaEncoding: 'ieee-p1363' });
  if (alg === 'HS256') {
    const secret = keys.RS256.publicKey.export({ type: 'spki', format: 'pem' });
    return createHmac('sha256', secret).update(bytes).digest();
  }
  return sign('sha256', bytes, keys.RS256.privateKey);
}
