import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type KmsSignerOptions, openKmsSigner } from '../../src/ca/kms.js';
import { signDigest } from './kms-sign-digest.js';

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey;
const arnOf = (id: string) => `arn:aws:kms:eu-west-1:111122223333:key/${id}`;
const ids = ['00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002'] as const;
const data = Buffer.from('a certificate to be');

interface Call {
  readonly action: string;
  readonly body: Record<string, unknown>;
  readonly authorization: string;
}

let server: Server;
let keys: Record<string, KeyObject>;
let aliases: Record<string, string>;
let calls: Call[];
/** Changes the answer on its way. */
let damage: (action: string, answer: Record<string, unknown>) => Record<string, unknown>;

beforeAll(async () => {
  server = createServer((request, response) => {
    answer(request).then(
      (body) => response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body)),
      (error: Error) => {
        const body = { __type: error.name, message: error.message };
        response.writeHead(400, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body));
      },
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_KMS: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'secret',
    AWS_EC2_METADATA_DISABLED: 'true',
  });
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});
beforeEach(() => {
  keys = { [ids[0]]: ec('P-256'), [ids[1]]: ec('P-256') };
  aliases = { 'alias/ca': ids[0] };
  calls = [];
  damage = (_, body) => body;
});

async function answer(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
  const action = `${request.headers['x-amz-target']}`.replace('TrentService.', '');
  calls.push({ action, body, authorization: `${request.headers.authorization}` });
  const name = `${body.KeyId}`;
  const id = aliases[name] ?? name.replace(/^arn:.*\/(?=0)/, '');
  const key = keys[id];
  if (key === undefined) throw Object.assign(new Error(`Alias ${name} is not found.`), { name: 'NotFoundException' });
  return damage(action, action === 'Sign' ? signAnswer(id, key, body) : publicKeyAnswer(id, key));
}

function publicKeyAnswer(id: string, key: KeyObject): Record<string, unknown> {
  const der = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const algorithms: Record<string, string[]> = {
    prime256v1: ['ECDSA_SHA_256'],
    secp384r1: ['ECDSA_SHA_384'],
    rsa: ['RSASSA_PKCS1_V1_5_SHA_256', 'RSASSA_PSS_SHA_256'],
    ed25519: ['ED25519_SHA_512', 'ED25519_PH_SHA_512'],
  };
  const SigningAlgorithms = algorithms[key.asymmetricKeyDetails?.namedCurve ?? `${key.asymmetricKeyType}`];
  return { KeyId: arnOf(id), KeyUsage: 'SIGN_VERIFY', PublicKey: der.toString('base64'), SigningAlgorithms };
}

function signAnswer(id: string, key: KeyObject, body: Record<string, unknown>): Record<string, unknown> {
  const message = Buffer.from(`${body.Message}`, 'base64');
  const algorithm = `${body.SigningAlgorithm}`;
  const hash = key.asymmetricKeyType === 'ed25519' ? null : `sha${algorithm.slice(-3)}`;
  const isRaw = body.MessageType === 'RAW';
  if (isRaw && message.length > 4096) throw new Error('Message is too long');
  if (!isRaw && message.length !== Number(algorithm.slice(-3)) / 8) throw new Error('Digest is of another length');
  const signature = isRaw ? sign(hash, message, key) : signDigest(key, message).der;
  return { KeyId: arnOf(id), Signature: signature.toString('base64'), SigningAlgorithm: algorithm };
}

const open = (uri = 'awskms:///alias/ca', more: Partial<KmsSignerOptions> = {}) =>
  openKmsSigner(uri, { environment: { AWS_DEFAULT_REGION: 'eu-west-1' }, ...more });

test.each([
  ['P-256', ec('P-256'), 'sha256', 'ECDSA_SHA_256'],
  ['P-384', ec('P-384'), 'sha384', 'ECDSA_SHA_384'],
  ['RSA', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, 'sha256', 'RSASSA_PKCS1_V1_5_SHA_256'],
  ['Ed25519', generateKeyPairSync('ed25519').privateKey, null, 'ED25519_SHA_512'],
])('a %s key of AWS KMS signs', async (_, key, hash, algorithm) => {
  keys[ids[0]] = key;
  const signer = await open();
  expect(verify(hash, data, createPublicKey(key), await signer.sign(data))).toBe(true);
  expect(calls.at(-1)).toMatchObject({ action: 'Sign', body: { SigningAlgorithm: algorithm, MessageType: 'RAW' } });
  await signer.close();
});

test.each([
  ['P-256', ec('P-256'), 'sha256'],
  ['P-384', ec('P-384'), 'sha384'],
  ['RSA', generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey, 'sha256'],
])('a %s key signs the digest of what is longer than a message may be', async (_, key, hash) => {
  keys[ids[0]] = key;
  const signer = await open();
  for (const length of [4096, 4097, 20_000]) {
    const long = Buffer.alloc(length, 'x');
    expect(verify(hash, long, createPublicKey(key), await signer.sign(long))).toBe(true);
  }
  expect(calls.slice(-3).map(({ body }) => body.MessageType)).toEqual(['RAW', 'DIGEST', 'DIGEST']);
  await signer.close();
});

test('an alias that is moved changes nothing: calls go on naming the key it stood for', async () => {
  const described: string[] = [];
  const signer = await open(undefined, { onOpen: (key) => described.push(key) });
  aliases['alias/ca'] = ids[1];
  expect(verify('sha256', data, signer.publicKey, await signer.sign(data))).toBe(true);
  expect(calls.map(({ body }) => body.KeyId)).toEqual(['alias/ca', arnOf(ids[0]), arnOf(ids[0])]);
  expect(described).toEqual([`the AWS KMS key alias/ca (${arnOf(ids[0])})`]);
  await signer.close();
});

test.each([
  [`awskms:///${arnOf(ids[0])}`, {}, 'eu-west-1'],
  ['awskms:///alias/ca', { AWS_REGION: 'us-east-2', AWS_DEFAULT_REGION: 'eu-west-1' }, 'us-east-2'],
  ['awskms:///alias/ca', { AWS_REGION: '', AWS_DEFAULT_REGION: 'eu-central-1' }, 'eu-central-1'],
])('the requests for %s with %j are signed for %s', async (uri, environment, region) => {
  const signer = await open(uri, { environment });
  const scope = new RegExp(`^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\\d{8}/${region}/kms/aws4_request, `);
  for (const { authorization } of calls) expect(authorization).toMatch(scope);
  await signer.close();
});

test('an endpoint in the URI is spoken to over TLS', async () => {
  const port = (server.address() as AddressInfo).port;
  await expect(open(`awskms://127.0.0.1:${port}/alias/ca`)).rejects.toMatchObject({
    code: 'STARTUP',
    detail: expect.stringMatching(/EPROTO|ssl/i),
  });
  expect(calls).toEqual([]);
});

test.each<[string, typeof damage, string]>([
  ['for encryption', (_, body) => ({ ...body, KeyUsage: 'ENCRYPT_DECRYPT' }), 'its usage is ENCRYPT_DECRYPT'],
  [
    'for other signatures',
    (_, body) => ({ ...body, SigningAlgorithms: ['RSASSA_PSS_SHA_256'] }),
    'expected ECDSA_SHA_256',
  ],
  ['that is left out', (_, { PublicKey, ...body }) => body, 'the answer to GetPublicKey holds no key'],
  ['that cannot be read', (_, body) => ({ ...body, PublicKey: 'AAAA' }), 'the AWS KMS key alias/ca: '],
  ['that does not sign', (action, body) => (action === 'Sign' ? {} : body), 'the answer to Sign holds no signature'],
  [
    'that another key signs for',
    (action, body) =>
      action === 'Sign' ? { ...body, Signature: sign('sha256', data, ec('P-256')).toString('base64') } : body,
    'returned a signature that does not verify with its public key',
  ],
])('a key %s is refused', async (_, change, message) => {
  damage = change;
  await expect(open()).rejects.toMatchObject({ code: 'STARTUP', detail: expect.stringContaining(message) });
});

test('a key that is not there is refused with what AWS says', async () => {
  await expect(open('awskms:///alias/other')).rejects.toMatchObject({
    detail: '--kms-resource: the AWS KMS key alias/other: NotFoundException: Alias alias/other is not found.',
  });
});

test('a key of a kind that no CA may have is refused', async () => {
  keys[ids[0]] = ec('secp256k1');
  damage = (_, body) => ({ ...body, SigningAlgorithms: ['ECDSA_SHA_256'] });
  await expect(open()).rejects.toMatchObject({ detail: expect.stringContaining('is of the kind EC secp256k1') });
});
