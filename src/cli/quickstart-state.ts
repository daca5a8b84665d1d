import { generateKeyPair, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { exportJWK } from 'jose';
import { z } from 'zod';
import { readIfExists, replaceFile } from '../ctlog/durable-file.js';
import { messageOf } from '../errors.js';
import { CommandError } from './request-io.js';

/** Only this machine may reach the demo: its provider gives tokens to whoever asks. */
export const demoHost = '127.0.0.1';

export const defaultDataDir = './quickstart-data';

const stateSchema = z.object({
  version: z.literal(1),
  httpPort: z.number().int().min(1).max(65535),
  oidcPort: z.number().int().min(1).max(65535),
  cookieSecret: z.string().min(16),
  signingKey: z.looseObject({ kty: z.literal('RSA'), kid: z.string() }),
});

/** What a later quickstart on the same directory must find again. */
export type QuickstartState = Readonly<z.infer<typeof stateSchema>>;

/** The files that quickstart keeps beside the server's own in the data directory. */
export function quickstartPaths(dataDir: string) {
  return {
    state: join(dataDir, 'quickstart.json'),
    config: join(dataDir, 'config.yaml'),
    token: join(dataDir, 'identity-token'),
    trustedRoot: join(dataDir, 'trust', 'trusted_root.json'),
    signingConfig: join(dataDir, 'trust', 'signing_config.json'),
    demo: join(dataDir, 'demo'),
  };
}

/**
 * What an earlier quickstart left in `dataDir`; undefined at the first one.
 * @throws CommandError 1 when the file is there and cannot be understood.
 */
export async function readState(dataDir: string): Promise<QuickstartState | undefined> {
  const { state: path } = quickstartPaths(dataDir);
  const bytes = await readIfExists(path).catch((cause: unknown) => {
    throw new CommandError(1, `${path} cannot be read: ${messageOf(cause)}`, cause);
  });
  if (bytes === undefined) return undefined;
  try {
    return stateSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw new CommandError(1, `${path} is not what quickstart wrote; remove ${dataDir} to start anew`, cause);
  }
}

/** A new provider key and cookie secret for these ports. */
export async function newState(httpPort: number, oidcPort: number): Promise<QuickstartState> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  const kid = randomBytes(8).toString('hex');
  return {
    version: 1,
    httpPort,
    oidcPort,
    cookieSecret: randomBytes(32).toString('base64url'),
    signingKey: { ...(await exportJWK(privateKey)), kty: 'RSA', kid, alg: 'RS256', use: 'sig' },
  };
}

/** Writes the state; it holds the provider's private key, so only the user may read it. */
export async function writeState(dataDir: string, state: QuickstartState): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o755 });
  await writePrivate(quickstartPaths(dataDir).state, `${JSON.stringify(state, null, 2)}\n`);
}

/** Replaces a file that only the user may read (0600). */
export async function writePrivate(path: string, content: string): Promise<void> {
  await replaceFile(path, `${path}.tmp`, Buffer.from(content), { mode: 0o600, chmod: true, sync: true });
}

/**
 * Makes sure that config.yaml lets the server accept the demo provider's tokens: writes it at the first start and when
 * only the provider's port has changed since, and leaves one that somebody edited.
 * @throws CommandError 1 when an edited file does not name the provider.
 */
export async function ensureConfig(path: string, issuer: string, formerIssuer: string | undefined): Promise<void> {
  const present = await readFile(path, 'utf8').catch(() => undefined);
  const former = formerIssuer === undefined ? undefined : configText(formerIssuer);
  if (present === undefined || present === former) {
    if (present !== configText(issuer)) await writeFile(path, configText(issuer), { mode: 0o644 });
    return;
  }
  if (present.includes(issuer)) return;
  throw new CommandError(
    1,
    `${path} was edited and does not name the demo provider ${issuer}; add it under oidc-issuers, or remove the file`,
  );
}

function configText(issuer: string): string {
  return `# Whose identity tokens this certificate authority accepts (written by "mayfly quickstart"; yours to edit).
# The server loads it anew when it changes.
oidc-issuers:
  # The demo provider that quickstart runs. It gives a token to whoever asks: never keep it on a real instance.
  ${issuer}:
    issuer-url: ${issuer}
    # The audience ("aud") that a token must have.
    client-id: sigstore
    # email: the certificate names the token's verified email address.
    type: email

  # A company's own provider looks the same:
  # https://login.example.com/realms/staff:
  #   issuer-url: https://login.example.com/realms/staff
  #   client-id: sigstore
  #   type: email
`;
}

/** Whether something can listen on this port now. */
export function isPortFree(port: number): Promise<boolean> {
  return probe(port).then(
    () => true,
    () => false,
  );
}

/** A port that is free now. */
export function freePort(): Promise<number> {
  return probe(0);
}

function probe(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, demoHost, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : port));
    });
  });
}
