import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { openAzureKey } from '../../src/ca/kms-azure.js';
import { parseKmsUri } from '../../src/ca/kms-uri.js';
import { openRemoteSigner } from '../../src/ca/remote-signer.js';
import { signDigest } from './kms-sign-digest.js';
import { loopbackTls } from './kms-tls.js';
import { testOptions } from './remote-key-fake.js';

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey;
const data = Buffer.from('a certificate to be');
const versionNames = ['a1', 'b2', 'c3'];

let vault: Server;
let identity: Server;
let tls: { cert: string; key: string };
let keys: KeyObject[];
let enabled: boolean[];
let calls: string[];
let damage: (answer: Record<string, unknown>) => Record<string, unknown>;

const portOf = (server: Server) => (server.address() as AddressInfo).port;

beforeAll(async () => {
  tls = await loopbackTls();
  // The managed identity of an App Service: a token for the resource, to whoever knows the header.
  identity = createHttpServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    const isKnown = request.headers['x-identity-header'] === 'identity-secret';
    const token = { access_token: `token-for-${url.searchParams.get('resource')}`, expires_on: '4102444800' };
    response.writeHead(isKnown ? 200 : 403, { 'content-type': 'application/json' });
    response.end(JSON.stringify(isKnown ? { ...token, token_type: 'Bearer', resource: 'x' } : {}));
  }).listen(0, '127.0.0.1');
  vault = createHttpsServer(tls, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.headers.authorization !== 'Bearer token-for-https://vault.azure.net') {
        const challenge =
          'Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"';
        response.writeHead(401, { 'www-authenticate': challenge }).end();
        return;
      }
      const { status, body } = answer(`${request.method} ${request.url}`, Buffer.concat(chunks).toString());
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
  }).listen(0, '127.0.0.1');
  await Promise.all([once(identity, 'listening'), once(vault, 'listening')]);
  Object.assign(process.env, {
    IDENTITY_ENDPOINT: `http://127.0.0.1:${portOf(identity)}/token`,
    IDENTITY_HEADER: 'identity-secret',
    AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential',
  });
});
afterAll(() => {
  for (const server of [vault, identity]) {
    server.close();
    server.closeAllConnections();
  }
});
beforeEach(() => {
  keys = [ec('P-256')];
  enabled = [true, true, true];
  calls = [];
  damage = (body) => body;
});

function answer(call: string, text: string): { status: number; body: Record<string, unknown> } {
  const [, method, path = ''] = /^(\w+) \/keys\/ca([^?]*)\?api(?:-|%2D)version=/.exec(call) ?? [];
  calls.push(`${method} ${path}`);
  if (method === 'GET' && path === '/versions') return { status: 200, body: versionList() };
  const [, version = versionNames[keys.length - 1] ?? '', sign] =
    /^\/(?:([a-z0-9]+)(\/sign)?)?$/.exec(path || '/') ?? [];
  const index = versionNames.indexOf(version);
  const key = keys[index];
  if (key === undefined || !enabled[index]) {
    const error = {
      code: 'KeyNotFound',
      message: `A key with (name/id) ca/${version} was not found in this key vault.`,
    };
    return { status: 404, body: { error } };
  }
  if (sign === undefined) return { status: 200, body: damage(keyBundle(version, key, index)) };
  return signAnswer(version, key, JSON.parse(text) as Record<string, unknown>);
}

const idOf = (version: string) => `https://127.0.0.1:${portOf(vault)}/keys/ca/${version}`;

function versionList(): Record<string, unknown> {
  // Oldest first, as no order is promised.
  const value = keys.map((_, index) => ({
    kid: idOf(versionNames[index] ?? ''),
    attributes: { enabled: enabled[index], created: 1_700_000_000 + index },
  }));
  return { value, nextLink: null };
}

function keyBundle(version: string, key: KeyObject, index: number): Record<string, unknown> {
  const { kty, crv, n, e, x, y } = createPublicKey(key).export({ format: 'jwk' });
  const members = { kid: idOf(version), kty: `${kty}-HSM`, key_ops: ['sign', 'verify'], crv, n, e, x, y };
  return { key: members, attributes: { enabled: true, created: 1_700_000_000 + index } };
}

function signAnswer(version: string, key: KeyObject, { alg, value }: Record<string, unknown>) {
  const digest = Buffer.from(`${value}`, 'base64url');
  const isRsa = key.asymmetricKeyType === 'rsa';
  const expected = isRsa ? 'RS256' : `ES${key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 384 : 256}`;
  if (alg !== expected || digest.length !== Number(expected.slice(2)) / 8) {
    return { status: 400, body: { error: { code: 'BadParameter', message: `${alg} of ${digest.length} bytes` } } };
  }
  return { status: 200, body: { kid: idOf(version), value: signDigest(key, digest).raw.toString('base64url') } };
}

async function open(path = 'ca', expectedKey?: KeyObject, environment: Record<string, string> = {}) {
  const name = parseKmsUri(`azurekms://127.0.0.1:${portOf(vault)}/${path}`, 'x');
  if (name.provider !== 'azure') throw new Error('not of Azure');
  const key = await openAzureKey(
    name,
    { environment, expectedKey, timeoutMs: 5000, maxConcurrent: 8 },
    {
      tlsOptions: { ca: tls.cert },
      // The fake is not under vault.azure.net, which is what the SDK otherwise insists on.
      disableChallengeResourceVerification: true,
    },
  );
  const { options } = testOptions();
  const after = (ms: number, run: () => void) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  };
  return { key, signer: await openRemoteSigner(key, { ...options, after, timeoutMs: 5000 }) };
}

test.each([
  ['P-256', ec('P-256'), 'sha256'],
  ['P-384', ec('P-384'), 'sha384'],
  ['RSA', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, 'sha256'],
])('a %s key of Azure signs, with the credentials that the SDK finds', async (_, key, hash) => {
  keys = [key];
  const { signer } = await open();
  for (let round = 0; round < 20; round += 1) {
    const text = Buffer.from(`${data} ${round}`);
    expect(verify(hash, text, createPublicKey(key), await signer.sign(text))).toBe(true);
  }
  expect(calls.at(-1)).toBe('POST /a1/sign');
  await signer.close();
});

test('a new version in Azure changes nothing: the version of the start goes on signing', async () => {
  const { key, signer } = await open();
  keys.push(ec('P-256'));
  expect(verify('sha256', data, signer.publicKey, await signer.sign(data))).toBe(true);
  expect(key.describe).toBe(`the Azure key ${idOf('a1')}`);
  await signer.close();
});

test.each([
  [0, ['GET /', 'GET /versions', 'GET /b2', 'GET /a1']],
  [2, ['GET /']],
])('a start after a rotation takes the version that belongs to the chain (version %i)', async (index, expected) => {
  keys = [ec('P-256'), ec('P-256'), ec('P-384')];
  const wanted = keys[index];
  const { signer } = await open('ca', wanted && createPublicKey(wanted));
  expect(wanted !== undefined && signer.publicKey.equals(createPublicKey(wanted))).toBe(true);
  expect(calls.slice(0, expected.length)).toEqual(expected);
  await signer.close();
});

test('disabled versions are passed over, and a chain that no version belongs to is refused', async () => {
  keys = [ec('P-256'), ec('P-256'), ec('P-256')];
  enabled[1] = false;
  await expect(open('ca', createPublicKey(ec('P-256')))).rejects.toMatchObject({
    code: 'STARTUP',
    detail: expect.stringContaining('none of its enabled versions (c3, a1) has the public key'),
  });
});

test('a version in the URI is the one that is used', async () => {
  keys = [ec('P-256'), ec('P-256')];
  const [first] = keys;
  const { signer } = await open('ca/a1');
  expect(first !== undefined && signer.publicKey.equals(createPublicKey(first))).toBe(true);
  expect(calls).not.toContain('GET /versions');
  await signer.close();
});

test.each<[string, string, typeof damage, string]>([
  ['that is not there', 'ca/dddd', (body) => body, 'was not found in this key vault'],
  ['without a key in it', 'ca', ({ key, ...body }) => ({ ...body, key: { kid: idOf('a1') } }), 'the Azure key '],
  [
    'that may not sign',
    'ca',
    (body) => ({ ...body, key: { ...(body.key as object), key_ops: ['verify'] } }),
    'sign is not supported',
  ],
])('a key %s is refused', async (_, path, change, message) => {
  damage = change;
  await expect(open(path)).rejects.toMatchObject({ code: 'STARTUP', detail: expect.stringContaining(message) });
});

test('a cloud that is not known is refused', async () => {
  await expect(open('ca', undefined, { AZURE_ENVIRONMENT: 'AZURESTACK' })).rejects.toMatchObject({
    code: 'STARTUP',
    detail:
      'AZURE_ENVIRONMENT is "AZURESTACK"; expected AZUREUSGOVERNMENT, AZUREUSGOVERNMENTCLOUD, AZURECHINACLOUD, AZURECLOUD, AZUREPUBLICCLOUD',
  });
});
