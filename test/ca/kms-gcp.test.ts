import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Metadata, Server, ServerUnaryCall, ServiceDefinition, sendUnaryData } from '@grpc/grpc-js';
import { jwtVerify } from 'jose';
import { crc32c } from '../../src/ca/kms-crc32c.js';
import { openGcpKey } from '../../src/ca/kms-gcp.js';
import { parseKmsUri } from '../../src/ca/kms-uri.js';
import { openRemoteSigner } from '../../src/ca/remote-signer.js';
import { signDigest } from './kms-sign-digest.js';
import { loopbackTls } from './kms-tls.js';
import { testOptions } from './remote-key-fake.js';

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey;
const parent = 'projects/p/locations/l/keyRings/r/cryptoKeys/k';
const nameOf = (version: number) => `${parent}/cryptoKeyVersions/${version}`;
const data = Buffer.from('a certificate to be');
const account = generateKeyPairSync('rsa', { modulusLength: 2048 });

type Message = Record<string, unknown>;

let dir: string;
let server: Server;
let port: number;
/** Versions 1, 2, …; undefined for one that is disabled. */
let keys: (KeyObject | undefined)[];
let calls: string[];
let damage: (method: string, answer: Message) => Message;
/** Takes signing requests and does not answer. */
let hang: ((call: ServerUnaryCall<Message, Message>) => void) | undefined;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mayfly-gcp-'));
  const tls = await loopbackTls();
  writeFileSync(join(dir, 'root.pem'), tls.cert);
  writeFileSync(
    join(dir, 'account.json'),
    JSON.stringify({
      type: 'service_account',
      project_id: 'p',
      private_key_id: 'key-1',
      private_key: account.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      client_email: 'ca@p.iam.gserviceaccount.com',
    }),
  );
  // Read when the library is loaded, so that comes after.
  process.env.GRPC_DEFAULT_SSL_ROOTS_FILE_PATH = join(dir, 'root.pem');
  process.env.GOOGLE_APPLICATION_CREDENTIALS = join(dir, 'account.json');
  const grpc = await import('@grpc/grpc-js');
  const loader = await import('@grpc/proto-loader');
  const path = createRequire(import.meta.url).resolve('@google-cloud/kms/build/protos/protos.json');
  const definition = loader.fromJSON(JSON.parse(readFileSync(path, 'utf8')) as Parameters<typeof loader.fromJSON>[0], {
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
  })['google.cloud.kms.v1.KeyManagementService'] as ServiceDefinition;
  server = new grpc.Server();
  const handlers = { GetPublicKey: getPublicKey, AsymmetricSign: asymmetricSign, ListCryptoKeyVersions: listVersions };
  const methods = Object.entries(handlers).map(([method, handle]) => [method, checked(method, handle)]);
  server.addService(definition, Object.fromEntries(methods));
  const credentials = grpc.ServerCredentials.createSsl(null, [
    { cert_chain: Buffer.from(tls.cert), private_key: Buffer.from(tls.key) },
  ]);
  port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
});
afterAll(() => {
  server.forceShutdown();
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  keys = [ec('P-256')];
  calls = [];
  damage = (_, answer) => answer;
  hang = undefined;
});

/** Only the service account gets an answer: its JWT, signed by itself for this service, is what the SDK sends. */
function checked(method: string, handle: (request: Message) => Message) {
  return (call: ServerUnaryCall<Message, Message>, answer: sendUnaryData<Message>) => {
    calls.push(`${method} ${call.request.name ?? call.request.parent}`);
    if (method === 'AsymmetricSign' && hang !== undefined) return hang(call);
    authorize(call.metadata)
      .then(() => answer(null, damage(method, handle(call.request))))
      .catch((error: Error & { code?: number }) => answer({ code: error.code ?? 16, message: error.message }));
  };
}

async function authorize(metadata: Metadata): Promise<void> {
  const token = `${metadata.get('authorization')[0]}`.replace('Bearer ', '');
  await jwtVerify(token, account.publicKey, { issuer: 'ca@p.iam.gserviceaccount.com' });
}

const wrapped = (bytes: Uint8Array) => ({ value: crc32c(bytes) });
const algorithms: Readonly<Record<string, string>> = {
  prime256v1: 'EC_SIGN_P256_SHA256',
  secp384r1: 'EC_SIGN_P384_SHA384',
  rsa: 'RSA_SIGN_PKCS1_2048_SHA256',
  ed25519: 'EC_SIGN_ED25519',
};

function keyOf(name: unknown): KeyObject {
  const key = keys[Number(`${name}`.split('/').at(-1)) - 1];
  if (key === undefined)
    throw Object.assign(new Error(`${name} is not enabled, current state is: DISABLED.`), { code: 9 });
  return key;
}

function getPublicKey({ name }: Message): Message {
  const key = keyOf(name);
  const pem = `${createPublicKey(key).export({ type: 'spki', format: 'pem' })}`;
  const algorithm = algorithms[key.asymmetricKeyDetails?.namedCurve ?? `${key.asymmetricKeyType}`];
  return { name, pem, algorithm, pemCrc32c: wrapped(Buffer.from(pem)) };
}

function listVersions({ parent, filter }: Message): Message {
  if (filter !== 'state=ENABLED') throw new Error('the filter is another');
  const versions = keys.flatMap((key, index) =>
    key === undefined ? [] : [{ name: `${parent}/cryptoKeyVersions/${index + 1}` }],
  );
  return { cryptoKeyVersions: versions };
}

function asymmetricSign(request: Message): Message {
  const {
    name,
    digest,
    digestCrc32c,
    data: plain,
    dataCrc32c,
  } = request as {
    name: string;
    digest: { digest: string; [hash: string]: unknown } | null;
    digestCrc32c: { value: string } | null;
    data: Buffer;
    dataCrc32c: { value: string } | null;
  };
  const key = keyOf(name);
  const input = digest === null ? plain : (digest[digest.digest] as Buffer);
  const checksum = digest === null ? dataCrc32c : digestCrc32c;
  const isVerified = checksum !== null && checksum.value === `${crc32c(input)}`;
  const signature = digest === null ? sign(null, input, key) : signDigest(key, input).der;
  return {
    name,
    signature,
    signatureCrc32c: wrapped(signature),
    verifiedDigestCrc32c: digest !== null && isVerified,
    verifiedDataCrc32c: digest === null && isVerified,
  };
}

async function open(version = '', expectedKey?: KeyObject, timeoutMs = 5000) {
  const name = parseKmsUri(`gcpkms://${parent}${version}`, 'x');
  if (name.provider !== 'gcp') throw new Error('not of Google');
  const key = await openGcpKey(
    name,
    { environment: {}, expectedKey, timeoutMs, maxConcurrent: 8 },
    { apiEndpoint: 'localhost', port },
  );
  const { options } = testOptions();
  const after = (ms: number, run: () => void) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  };
  return { key, signer: await openRemoteSigner(key, { ...options, after, timeoutMs }) };
}

test.each([
  ['P-256', ec('P-256'), 'sha256'],
  ['P-384', ec('P-384'), 'sha384'],
  ['RSA', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, 'sha256'],
  ['Ed25519', generateKeyPairSync('ed25519').privateKey, null],
])('a %s key of Google Cloud KMS signs, with checksums both ways', async (_, key, hash) => {
  keys = [key];
  const { signer } = await open('/cryptoKeyVersions/1');
  expect(verify(hash, data, createPublicKey(key), await signer.sign(data))).toBe(true);
  expect(new Set(calls)).toEqual(new Set([`GetPublicKey ${nameOf(1)}`, `AsymmetricSign ${nameOf(1)}`]));
  await signer.close();
});

test('a new version changes nothing: the version of the start goes on signing', async () => {
  const { key, signer } = await open();
  keys.push(ec('P-256'));
  expect(verify('sha256', data, signer.publicKey, await signer.sign(data))).toBe(true);
  expect(key.describe).toBe(`the Google Cloud KMS key ${nameOf(1)}`);
  await signer.close();
});

test('without a version the newest enabled one is taken, beyond version 9 too', async () => {
  keys = [...Array.from({ length: 10 }, () => ec('P-256')), undefined];
  const { signer } = await open();
  expect(keys[9] !== undefined && signer.publicKey.equals(createPublicKey(keys[9]))).toBe(true);
  await signer.close();
});

test('without a version, a start with a chain takes the version that belongs to it', async () => {
  keys = [ec('P-256'), ec('P-256'), ec('P-384')];
  const [first] = keys;
  const { signer } = await open('', first && createPublicKey(first));
  expect(first !== undefined && signer.publicKey.equals(createPublicKey(first))).toBe(true);
  await signer.close();
});

test('a chain that no version belongs to is refused', async () => {
  await expect(open('', createPublicKey(ec('P-256')))).rejects.toMatchObject({
    code: 'STARTUP',
    detail: expect.stringContaining(`none of its enabled versions (${nameOf(1)}) has the public key`),
  });
});

test.each<[string, string, Message, string]>([
  [
    'another algorithm',
    'GetPublicKey',
    { algorithm: 'EC_SIGN_P384_SHA384' },
    'it signs with EC_SIGN_P384_SHA384; expected EC_SIGN_P256_SHA256',
  ],
  ['a damaged public key', 'GetPublicKey', { pemCrc32c: { value: 1 } }, 'the answer to GetPublicKey was damaged'],
  ['a public key without checksum', 'GetPublicKey', { pemCrc32c: null }, 'the answer to GetPublicKey was damaged'],
  ['the public key of another', 'GetPublicKey', { name: nameOf(2) }, 'the answer to GetPublicKey was damaged'],
  [
    'a request that was damaged',
    'AsymmetricSign',
    { verifiedDigestCrc32c: false },
    'the request to AsymmetricSign was damaged',
  ],
  [
    'a damaged signature',
    'AsymmetricSign',
    { signatureCrc32c: { value: 1 } },
    'the answer to AsymmetricSign was damaged',
  ],
  ['the signature of another', 'AsymmetricSign', { name: nameOf(2) }, 'the answer to AsymmetricSign was damaged'],
])('a key with %s is refused', async (_, method, change, message) => {
  damage = (called, answer) => (called === method ? { ...answer, ...change } : answer);
  await expect(open()).rejects.toMatchObject({ code: 'STARTUP', detail: expect.stringContaining(message) });
});

test('a disabled version is refused with what Google says', async () => {
  keys = [undefined];
  await expect(open('/cryptoKeyVersions/1')).rejects.toMatchObject({
    detail: expect.stringContaining('current state is: DISABLED'),
  });
});

test('a call that takes too long is given up, here and at the service', async () => {
  let cancelled = 0;
  hang = (call) => call.on('cancelled', () => (cancelled += 1));
  await expect(open('', undefined, 300)).rejects.toMatchObject({
    detail: expect.stringMatching(/did not answer within 300 ms|deadline exceeded/i),
  });
  while (cancelled === 0) await new Promise((resolve) => setTimeout(resolve, 10));
});
