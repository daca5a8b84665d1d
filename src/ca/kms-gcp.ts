import { createPublicKey, type KeyObject } from 'node:crypto';
import type { KeyManagementServiceClient, protos } from '@google-cloud/kms';
import { crc32c } from './kms-crc32c.js';
import { chooseVersion, type KeyVersion, type KmsDeps, loadSdk } from './kms-provider.js';
import type { GcpKeyName } from './kms-uri.js';
import type { RemoteKey } from './remote-key.js';
import { digestFor, type KeyKind, kindOf, type SignatureAlgorithm } from './signature-algorithm.js';

type Client = KeyManagementServiceClient;
type SignRequest = protos.google.cloud.kms.v1.IAsymmetricSignRequest;
type Checksum = protos.google.protobuf.IInt64Value | null | undefined;
type ClientOptions = ConstructorParameters<typeof KeyManagementServiceClient>[0];

/** The algorithm a key version must have for each kind of key: with Cloud KMS it belongs to the version. */
const algorithms: Readonly<Partial<Record<KeyKind, string>>> = {
  'EC P-256': 'EC_SIGN_P256_SHA256',
  'EC P-384': 'EC_SIGN_P384_SHA384',
  'RSA 2048': 'RSA_SIGN_PKCS1_2048_SHA256',
  'RSA 3072': 'RSA_SIGN_PKCS1_3072_SHA256',
  'RSA 4096': 'RSA_SIGN_PKCS1_4096_SHA256',
  Ed25519: 'EC_SIGN_ED25519',
};

/**
 * A key of Google Cloud KMS, with Application Default Credentials; it needs cloudkms.cryptoKeyVersions.viewPublicKey and
 * .useToSign, and .list when the URI leaves the version open. Requests and answers are checked by CRC-32C on both sides.
 * `clientOptions` are the SDK's own, for endpoints other than Google's.
 */
export async function openGcpKey(
  name: GcpKeyName,
  { expectedKey }: KmsDeps,
  clientOptions: ClientOptions = {},
): Promise<RemoteKey> {
  const sdk = await loadSdk('gcpkms', ['@google-cloud/kms'], () => import('@google-cloud/kms'));
  const client = new sdk.KeyManagementServiceClient(clientOptions);
  let pinned = name.version === undefined ? undefined : `${name.key}/cryptoKeyVersions/${name.version}`;
  return {
    get describe() {
      return `the Google Cloud KMS key ${pinned ?? name.key}`;
    },
    async publicKey(signal) {
      // Without credentials the calls themselves would throw where nobody can catch it.
      await client.initialize();
      if (pinned !== undefined) return fetchPublicKey(client, pinned, signal);
      const { version, publicKey } = await chooseVersion(enabledVersions(client, name.key, signal), expectedKey);
      pinned = version;
      return publicKey;
    },
    async sign(data, algorithm, signal) {
      if (pinned === undefined) throw new Error('its version is not known yet');
      return signWith(client, pinned, { data, algorithm }, signal);
    },
    close: () => client.close(),
  };
}

/** Newest first; numbers are compared here since the service would order them as texts. */
async function* enabledVersions(client: Client, parent: string, signal: AbortSignal): AsyncGenerator<KeyVersion> {
  const [versions] = await abortable(client.listCryptoKeyVersions({ parent, filter: 'state=ENABLED' }), signal);
  const number = (version: { name?: string | null }) => Number(version.name?.split('/').at(-1));
  for (const { name } of versions.toSorted((a, b) => number(b) - number(a))) {
    if (name) yield { version: name, publicKey: await fetchPublicKey(client, name, signal) };
  }
}

async function fetchPublicKey(client: Client, name: string, signal: AbortSignal): Promise<KeyObject> {
  const [answer] = await abortable(client.getPublicKey({ name }), signal);
  const pem = answer.pem ?? '';
  if (answer.name !== name || !matches(answer.pemCrc32c, Buffer.from(pem))) {
    throw new Error('the answer to GetPublicKey was damaged on its way: name or checksum are wrong');
  }
  const key = createPublicKey(pem);
  const needed = Object.entries(algorithms).find(([kind]) => kind === kindOf(key))?.[1];
  if (needed !== undefined && answer.algorithm !== needed) {
    throw new Error(`it signs with ${answer.algorithm}; expected ${needed}`);
  }
  return key;
}

async function signWith(
  client: Client,
  name: string,
  { data, algorithm }: { readonly data: Uint8Array; readonly algorithm: SignatureAlgorithm },
  signal: AbortSignal,
): Promise<Uint8Array> {
  const [answer] = await abortable(client.asymmetricSign({ name, ...inputOf(data, algorithm) }), signal);
  const { signature } = answer;
  const isReceived = algorithm.hash === null ? answer.verifiedDataCrc32c : answer.verifiedDigestCrc32c;
  if (!isReceived)
    throw new Error('the request to AsymmetricSign was damaged on its way: its checksum was not confirmed');
  if (!(signature instanceof Uint8Array) || answer.name !== name || !matches(answer.signatureCrc32c, signature)) {
    throw new Error('the answer to AsymmetricSign was damaged on its way: name or checksum are wrong');
  }
  return signature;
}

function inputOf(data: Uint8Array, algorithm: SignatureAlgorithm): SignRequest {
  if (algorithm.hash === null) return { data, dataCrc32c: { value: crc32c(data) } };
  const digest = digestFor(algorithm, data);
  return { digest: { [algorithm.hash]: digest }, digestCrc32c: { value: crc32c(digest) } };
}

function matches(checksum: Checksum, bytes: Uint8Array): boolean {
  return checksum?.value !== undefined && String(checksum.value) === String(crc32c(bytes));
}

/** The SDK's calls can be cancelled, which their types do not say. */
async function abortable<T>(call: Promise<T> & { cancel?: () => void }, signal: AbortSignal): Promise<T> {
  const cancel = () => call.cancel?.();
  signal.addEventListener('abort', cancel);
  try {
    return await call;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}
