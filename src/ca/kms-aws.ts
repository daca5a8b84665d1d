import { createPublicKey, type KeyObject } from 'node:crypto';
import type { GetPublicKeyCommandOutput, KMSClient, SigningAlgorithmSpec } from '@aws-sdk/client-kms';
import { type KmsDeps, loadSdk } from './kms-provider.js';
import type { AwsKeyName } from './kms-uri.js';
import type { RemoteKey } from './remote-key.js';
import { digestFor, type KeyKind, kindOf, type SignatureAlgorithm } from './signature-algorithm.js';

type Sdk = typeof import('@aws-sdk/client-kms');

const algorithms: Readonly<Record<KeyKind, SigningAlgorithmSpec>> = {
  'EC P-256': 'ECDSA_SHA_256',
  'EC P-384': 'ECDSA_SHA_384',
  'EC P-521': 'ECDSA_SHA_512',
  'RSA 2048': 'RSASSA_PKCS1_V1_5_SHA_256',
  'RSA 3072': 'RSASSA_PKCS1_V1_5_SHA_256',
  'RSA 4096': 'RSASSA_PKCS1_V1_5_SHA_256',
  Ed25519: 'ED25519_SHA_512',
};

/** What Sign takes as a whole message; the digest stands for a longer one. */
const maxMessageBytes = 4096;

/** A damaged connection or a throttled call is tried again by the SDK, within the signer's time limit. */
const attempts = 3;

/**
 * A key of AWS KMS, with credentials and region from where the AWS SDK finds them; it needs kms:GetPublicKey and
 * kms:Sign. An alias is followed once: later calls name the key it stood for, so an alias that is moved changes nothing.
 */
export async function openAwsKey(name: AwsKeyName, deps: KmsDeps): Promise<RemoteKey> {
  const sdk = await loadSdk('awskms', ['@aws-sdk/client-kms'], () => import('@aws-sdk/client-kms'));
  const client = createClient(sdk, name, deps);
  let pinned: string | undefined;
  return {
    get describe() {
      return pinned === undefined || pinned === name.keyId
        ? `the AWS KMS key ${name.keyId}`
        : `the AWS KMS key ${name.keyId} (${pinned})`;
    },
    async publicKey(abortSignal) {
      const command = new sdk.GetPublicKeyCommand({ KeyId: pinned ?? name.keyId });
      const answer = await client.send(command, { abortSignal });
      const key = readPublicKey(answer);
      pinned ??= answer.KeyId ?? name.keyId;
      return key;
    },
    async sign(data, algorithm, abortSignal) {
      const command = new sdk.SignCommand({
        KeyId: pinned ?? name.keyId,
        SigningAlgorithm: algorithms[algorithm.kind],
        ...messageOf(data, algorithm),
      });
      const { Signature } = await client.send(command, { abortSignal });
      if (Signature === undefined) throw new Error('the answer to Sign holds no signature');
      return Signature;
    },
    async close() {
      client.destroy();
    },
  };
}

function createClient(sdk: Sdk, name: AwsKeyName, { environment, maxConcurrent }: KmsDeps): KMSClient {
  // The Go SDK, and so Fulcio, knows the second variable; the JavaScript SDK does not. An ARN holds in its region only.
  const region = name.region ?? (environment.AWS_REGION || environment.AWS_DEFAULT_REGION || undefined);
  return new sdk.KMSClient({
    maxAttempts: attempts,
    requestHandler: { httpsAgent: { maxSockets: maxConcurrent, keepAlive: true } },
    ...(region === undefined ? {} : { region }),
    ...(name.endpoint === undefined ? {} : { endpoint: `https://${name.endpoint}` }),
  });
}

function messageOf(data: Uint8Array, algorithm: SignatureAlgorithm) {
  if (data.length <= maxMessageBytes || algorithm.hash === null) return { Message: data, MessageType: 'RAW' } as const;
  return { Message: digestFor(algorithm, data), MessageType: 'DIGEST' } as const;
}

function readPublicKey({ PublicKey, KeyUsage, SigningAlgorithms = [] }: GetPublicKeyCommandOutput): KeyObject {
  if (KeyUsage !== 'SIGN_VERIFY') throw new Error(`its usage is ${KeyUsage}; expected SIGN_VERIFY`);
  if (PublicKey === undefined) throw new Error('the answer to GetPublicKey holds no key');
  const key = createPublicKey({ key: Buffer.from(PublicKey), format: 'der', type: 'spki' });
  const needed = Object.entries(algorithms).find(([kind]) => kind === kindOf(key))?.[1];
  if (needed !== undefined && !SigningAlgorithms.includes(needed)) {
    throw new Error(`it signs with ${SigningAlgorithms.join(', ')}; expected ${needed}`);
  }
  return key;
}
