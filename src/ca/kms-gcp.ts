import { createPublicKey, type KeyObject } from 'node:crypto';
import type { KeyManagementServiceClient, protos } from '@google-cloud/kms';
import { crc32c } from './kms-crc32c.js';
import { chooseVersion, type KeyVersion, type KmsDeps, loadSdk } from './kms-provider.js';
import type { GcpKeyName } from './kms-uri.js';
import type { RemoteKey } from './remote-key.js';
import { digestFor, type KeyKind, kindOf, type SignatureAlgorithm } from './signature-algorithm.js';

type SignRequest = protos.google.cloud.kms.v1.IAsymmetricSignRequest;
type Checksum = protos.google.protobuf.IInt64Value | null | undefined;
/** The SDK's calls take a deadline but no AbortSignal. Its own retries would go on for ten minutes. */
interface CallOptions {
  readonly timeout: number;
  readonly retry: { readonly retryCodes: number[] };
}

/** The SDK's client with the options of every call. */
interface Client {
  readonly sdk: KeyManagementServiceClient;
  readonly call: CallOptions;
}

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
  { expectedKey, timeoutMs }: KmsDeps,
  clientOptions: ClientOptions = {},
): Promise<RemoteKey> {
  const sdk = await loadSdk('gcpkms', ['@google-cloud/kms'], () => import('@google-cloud/kms'));
  const client: Client = {
    sdk: new sdk.KeyManagementServiceClient(clientOptions),
    call: { timeout: timeoutMs, retry: { retryCodes: [] } },
  };
  let pinned = name.version === undefined ? undefined : `${name.key}/cryptoKeyVersions/${name.version}`;
  return {
    get describe() {
      return `the Google Cloud KMS key ${pinned ?? name.key}`;
    },
    async publicKey() {
      // Without credentials the calls themselves would throw where nobody can catch it.
      await client.sdk.initialize();
      if (pinned !== undefined) return fetchPublicKey(client, pinned);
      const { version, publicKey } = await chooseVersion(enabledVersions(client, name.key), expectedKey);
      pinned = version;
      return publicKey;
    },
    async sign(data, algorithm) {
      if (pinned === undefined) throw new Error('its version is not known yet');
      return signWith(client, pinned, data, algorithm);
    },
    close: () => client.sdk.close(),
  };
}

/** Newest first; numbers are compared here since the service would order them as texts. */
async function* enabledVersions(client: Client, parent: string): AsyncGenerator<KeyVersion> {
  const [versions] = await client.sdk.listCryptoKeyVersions({ parent, filter: 'state=ENABLED' }, client.call);
  const number = (version: { name?: string | null }) => Number(version.name?.split('/').at(-1));
  for (const { name } of versions.toSorted((a, b) => number(b) - number(a))) {
    if (name) yield { version: name, publicKey: await fetchPublicKey(client, name) };
  }
}

async function fetchPublicKey(client: Client, name: string): Promise<KeyObject> {
  const [answer] = await client.sdk.getPublicKey({ name }, client.call);
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
  data: Uint8Array,
  algorithm: SignatureAlgorithm,
): Promise<Uint8Array> {
  const [answer] = await client.sdk.asymmetricSign({ name, ...inputOf(data, algorithm) }, client.call);
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
