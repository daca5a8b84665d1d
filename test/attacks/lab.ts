import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { type RunningServer, startServer } from '../../src/server/start.js';
import { type Certificate, parseCertificate } from '../../src/x509/certificate.js';
import { decodePem } from '../../src/x509/pem.js';
import { b64, jwks, rsaKey } from '../identity/support.js';
import { type Answer, post } from '../support/client.js';

export const issuerUrl = 'https://id.example.com';

/** A server under attack. */
export interface Lab {
  readonly server: RunningServer;
  /** Asks for a certificate the way a v2 client does; the proof of possession is over `challenge`. */
  ask(token: string, challenge?: string): Promise<Answer>;
  close(): Promise<void>;
}

export interface LabOptions {
  readonly flags?: Readonly<Record<string, string>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly clock?: () => number;
}

const silent = pino({ level: 'silent' });
const open: { close(): Promise<void> }[] = [];

/** Ends everything that `keep` and `openLab` started; for afterEach. */
export async function closeAll(): Promise<void> {
  for (const one of open.splice(0).reverse()) await one.close();
}

export function keep<T extends { close(): Promise<void> }>(one: T): T {
  open.push(one);
  return one;
}

/** Flags of a server on free ports of loopback; `jwks-file: KEYS` in the configuration stands for the tests' key. */
export function labFlags(identity: object): Record<string, string> {
  const dir = mkdtempSync(join(tmpdir(), 'mayfly-attack-'));
  writeFileSync(join(dir, 'keys.json'), JSON.stringify(jwks));
  writeFileSync(join(dir, 'identity.json'), JSON.stringify(identity).replaceAll('"KEYS"', '"keys.json"'));
  return {
    host: '127.0.0.1',
    port: '0',
    'grpc-host': '127.0.0.1',
    'grpc-port': '0',
    'metrics-port': '0',
    'config-path': join(dir, 'identity.json'),
    'data-dir': join(dir, 'data'),
    'public-url': 'http://attack.test',
  };
}

/** Starts a server with this identity configuration in this process. */
export async function openLab(identity: object, options: LabOptions = {}): Promise<Lab> {
  const { clock, environment = {} } = options;
  const deps = { environment, logger: silent, ...(clock === undefined ? {} : { clock }) };
  const server = await startServer({ ...labFlags(identity), ...options.flags }, deps);
  return keep({
    server,
    ask: (token: string, challenge = 'user-1') =>
      post(`${server.url}/api/v2/signingCert`, signingRequest(token, challenge)),
    close: () => server.close(),
  });
}

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const content = String(publicKey.export({ type: 'spki', format: 'pem' }));

/** The body of POST /api/v2/signingCert. */
export function signingRequest(token: string, challenge = 'user-1'): string {
  const proofOfPossession = sign('sha256', Buffer.from(challenge), privateKey).toString('base64');
  const publicKeyRequest = { publicKey: { algorithm: 'ECDSA', content }, proofOfPossession };
  return JSON.stringify({ credentials: { oidcIdentityToken: token }, publicKeyRequest });
}

/** The body of POST /api/v1/signingCert. */
export function v1Request(challenge = 'user-1'): string {
  const signedEmailAddress = sign('sha256', Buffer.from(challenge), privateKey).toString('base64');
  return JSON.stringify({ publicKey: { content: Buffer.from(content).toString('base64') }, signedEmailAddress });
}

export const seconds = (): number => Math.floor(Date.now() / 1000);

/** Claims that pass, and what a test changes in them. */
export function claims(changed: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { iss: issuerUrl, aud: 'sigstore', sub: 'user-1', iat: seconds(), exp: seconds() + 600, ...changed };
}

/** A compact JWS signed with RS256 over header and payload; text stays as it is. */
export function jwt(payload: unknown, header: unknown = { alg: 'RS256', kid: 'k1' }, key: KeyObject = rsaKey): string {
  const input = `${b64(header)}.${b64(payload)}`;
  return `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`;
}

export const rsaPublicPem = String(createPublicKey(rsaKey).export({ type: 'spki', format: 'pem' }));

interface ErrorBody {
  readonly message: string;
  readonly details: readonly { readonly reason: string; readonly metadata: { readonly requestId: string } }[];
}

/**
 * The status and reason of a refusal, as "400 TOKEN_EXPIRED: message"; checks that it is one as every client can read it
 * and that it gives nothing of the token away.
 */
export function refusal(answer: Answer, token: string): string {
  const body = JSON.parse(answer.text) as ErrorBody;
  const [info] = body.details;
  expect(info?.metadata.requestId).toBe(answer.headers.get('x-request-id'));
  expect(answer.text).not.toMatch(/node_modules|\.[jt]s:\d/);
  for (const segment of token.split('.')) if (segment.length > 40) expect(answer.text).not.toContain(segment);
  return `${answer.status} ${info?.reason}: ${body.message}`;
}

/** The leaf of a v2 answer. */
export function leafOf(answer: Answer): Certificate {
  const parsed = JSON.parse(answer.text) as Record<string, { chain: { certificates: [string] } }>;
  const pem = Object.values(parsed)[0]?.chain.certificates[0];
  return parseCertificate(decodePem(pem ?? answer.text, ['CERTIFICATE']).der);
}

/** The content of the leaf's one subject alternative name, as text. */
export function sanOf(answer: Answer): string {
  const san = leafOf(answer).extensions.find(({ oid }) => oid === '2.5.29.17')?.value ?? new Uint8Array();
  return Buffer.from(san.subarray(4)).toString();
}
