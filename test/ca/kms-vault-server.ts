import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { signDigest } from './kms-sign-digest.js';

interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** As much of Vault's transit engine as a signer asks for, with real keys: what a request must hold is checked. */
export interface FakeVault {
  readonly address: string;
  /** The key's versions, the first being version 1. */
  readonly versions: KeyObject[];
  token: string;
  namespace: string | undefined;
  mount: string;
  /** Answers instead of the transit engine while it is set. */
  instead: ((request: IncomingMessage) => Answer | undefined) | undefined;
  readonly requests: { readonly method: string; readonly path: string; readonly body: Record<string, unknown> }[];
  /** Goes away and takes its connections along. */
  stop(): Promise<void>;
  /** Comes back at the same address. */
  start(): Promise<void>;
}

const types: Readonly<Record<string, string>> = { prime256v1: 'ecdsa-p256', secp384r1: 'ecdsa-p384' };
const hashes: Readonly<Record<string, string>> = { 'sha2-256': 'sha256', 'sha2-384': 'sha384' };
const digestSizes: Readonly<Record<string, number>> = { sha256: 32, sha384: 48 };

export async function startFakeVault(...versions: KeyObject[]): Promise<FakeVault> {
  let port = 0;
  let server = createServer();
  const vault: FakeVault = {
    get address() {
      return `http://127.0.0.1:${port}`;
    },
    versions,
    token: 's.token',
    namespace: undefined,
    mount: 'transit',
    instead: undefined,
    requests: [],
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
    async start() {
      server = createServer((request, response) => void respond(vault, request, response)).listen(port, '127.0.0.1');
      await once(server, 'listening');
      port = (server.address() as AddressInfo).port;
    },
  };
  await vault.start();
  return vault;
}

async function respond(vault: FakeVault, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { status, body, headers } =
    vault.instead?.(request) ?? transit(vault, request, Buffer.concat(chunks).toString());
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

const fail = (status: number, ...errors: string[]): Answer => ({ status, body: { errors } });

function transit(vault: FakeVault, { method = '', url = '', headers }: IncomingMessage, text: string): Answer {
  const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
  vault.requests.push({ method, path: url, body });
  if (headers['x-vault-token'] !== vault.token || headers['x-vault-namespace'] !== vault.namespace) {
    return fail(403, 'permission denied');
  }
  if (headers['x-vault-request'] !== 'true') return fail(400, 'X-Vault-Request is missing');
  if (method === 'GET' && url === `/v1/${vault.mount}/keys/ca`) return { status: 200, body: { data: keyData(vault) } };
  const prefix = `/v1/${vault.mount}/sign/ca`;
  if (method !== 'POST' || !url.startsWith(prefix)) return fail(404);
  return signAnswer(vault, url.slice(prefix.length + 1), body);
}

function keyData({ versions }: FakeVault) {
  const keys = versions.map((key, index) => [`${index + 1}`, { name: 'any', public_key: exportPublic(key) }]);
  const type = versions[0]?.asymmetricKeyDetails?.namedCurve ?? `${versions[0]?.asymmetricKeyType}`;
  return { type: types[type] ?? type, latest_version: versions.length, keys: Object.fromEntries(keys) };
}

function exportPublic(key: KeyObject): string {
  const publicKey = createPublicKey(key);
  if (key.asymmetricKeyType !== 'ed25519') return `${publicKey.export({ type: 'spki', format: 'pem' })}`;
  return publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64');
}

function signAnswer({ versions }: FakeVault, hashPath: string, body: Record<string, unknown>): Answer {
  const version = Number(body.key_version);
  const key = versions[version - 1];
  if (key === undefined) return fail(400, 'requested version for signing does not exist');
  const input = Buffer.from(`${body.input}`, 'base64');
  const isEd25519 = key.asymmetricKeyType === 'ed25519';
  const hash = hashes[hashPath];
  if (isEd25519 ? body.prehashed !== false : body.prehashed !== true || input.length !== digestSizes[hash ?? '']) {
    return fail(400, 'input, prehashed and hash algorithm do not fit each other');
  }
  if (key.asymmetricKeyType === 'ec' && body.marshaling_algorithm !== 'asn1') return fail(400, 'expected asn1');
  if (key.asymmetricKeyType === 'rsa' && body.signature_algorithm !== 'pkcs1v15') return fail(400, 'expected pkcs1v15');
  const signature = isEd25519 ? sign(null, input, key) : signDigest(key, input).der;
  return { status: 200, body: { data: { signature: `vault:v${version}:${signature.toString('base64')}` } } };
}
