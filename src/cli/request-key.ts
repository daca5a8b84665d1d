import { generateKeyPair, type KeyObject, type SignKeyObjectInput, sign } from 'node:crypto';
import { promisify } from 'node:util';
import { CommandError } from './request-io.js';

const generate = promisify(generateKeyPair);

interface Pair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

interface AlgorithmRow {
  readonly generate: () => Promise<Pair>;
  /** Digest of the proof of possession; null for Ed25519, which takes the message itself. */
  readonly digest: 'sha256' | 'sha384' | 'sha512' | null;
  /** PublicKeyAlgorithm of the API; the server goes by the key. */
  readonly apiName: 'ECDSA' | 'RSA_PSS' | 'ED25519';
  /** Key and signature in the terms of WebCrypto. */
  readonly webCrypto: { readonly name: string; readonly namedCurve?: string; readonly hash?: string };
}

const ec = (namedCurve: string, digest: 'sha256' | 'sha384' | 'sha512'): AlgorithmRow => ({
  generate: () => generate('ec', { namedCurve }),
  digest,
  apiName: 'ECDSA',
  webCrypto: { name: 'ECDSA', namedCurve, hash: digest.replace('sha', 'SHA-') },
});
const rsa = (modulusLength: number): AlgorithmRow => ({
  generate: () => generate('rsa', { modulusLength }),
  digest: 'sha256',
  apiName: 'RSA_PSS',
  webCrypto: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
});

/** The kinds of key that `mayfly request` makes, by the name of --key-algorithm. */
export const keyAlgorithms = {
  'ecdsa-p256': ec('P-256', 'sha256'),
  'ecdsa-p384': ec('P-384', 'sha384'),
  'ecdsa-p521': ec('P-521', 'sha512'),
  ed25519: {
    generate: () => generate('ed25519'),
    digest: null,
    apiName: 'ED25519',
    webCrypto: { name: 'Ed25519' },
  },
  'rsa-2048': rsa(2048),
  'rsa-3072': rsa(3072),
  'rsa-4096': rsa(4096),
} as const satisfies Record<string, AlgorithmRow>;

export type KeyAlgorithm = keyof typeof keyAlgorithms;

export interface ClientKey {
  readonly algorithm: KeyAlgorithm;
  /** PEM PKCS#8, not encrypted. */
  readonly privatePem: string;
  readonly publicPem: string;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Signature over `data`: DER Ecdsa-Sig-Value, RSA PKCS#1 v1.5, or Ed25519. */
  sign(data: Uint8Array): Promise<Uint8Array>;
}

/** The algorithm of that name; throws CommandError 2 with the names there are. */
export function parseKeyAlgorithm(name: string): KeyAlgorithm {
  if (Object.hasOwn(keyAlgorithms, name)) return name as KeyAlgorithm;
  throw new CommandError(2, `--key-algorithm is "${name}"; expected one of ${Object.keys(keyAlgorithms).join(', ')}`);
}

export async function generateClientKey(algorithm: KeyAlgorithm): Promise<ClientKey> {
  const row: AlgorithmRow = keyAlgorithms[algorithm];
  const { privateKey, publicKey } = await row.generate();
  const signAsync = promisify<string | null, Uint8Array, SignKeyObjectInput, Buffer>(sign);
  return {
    algorithm,
    privatePem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    publicPem: String(publicKey.export({ type: 'spki', format: 'pem' })),
    spki: publicKey.export({ type: 'spki', format: 'der' }),
    sign: (data) => signAsync(row.digest, data, { key: privateKey, dsaEncoding: 'der' }),
  };
}
