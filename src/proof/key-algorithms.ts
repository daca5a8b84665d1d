/**
 * The kinds of key a client may bring, as one table: how the key is recognised, what its proof of possession is hashed
 * with, and the names operators know it by (--client-signing-algorithms, Sigstore's algorithm registry).
 */

interface EcAlgorithm {
  readonly type: 'ec';
  /** For messages. */
  readonly title: string;
  readonly curveOid: string;
  readonly curve: 'P-256' | 'P-384' | 'P-521';
  /** Bytes of one coordinate. */
  readonly size: number;
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  /** Signature algorithm of a CSR that this key signed. */
  readonly csrSignature: string;
  readonly flags: readonly string[];
}

interface RsaAlgorithm {
  readonly type: 'rsa';
  readonly title: string;
  readonly bits: number;
  readonly hash: 'sha256';
  readonly csrSignature: string;
  readonly flags: readonly string[];
}

interface EdAlgorithm {
  readonly type: 'ed25519';
  readonly title: string;
  /** Ed25519 hashes by itself (RFC 8032). */
  readonly hash: null;
  readonly csrSignature: string;
  readonly flags: readonly string[];
}

export type KeyAlgorithm = EcAlgorithm | RsaAlgorithm | EdAlgorithm;

const sha256WithRsa = '1.2.840.113549.1.1.11';

const rsa = (bits: number): RsaAlgorithm => ({
  type: 'rsa',
  title: `RSA ${bits}`,
  bits,
  hash: 'sha256',
  csrSignature: sha256WithRsa,
  flags: [`rsa-sign-pkcs1-${bits}-sha256`],
});

export const keyAlgorithms = {
  'ecdsa-p256': {
    type: 'ec',
    title: 'ECDSA P-256',
    curveOid: '1.2.840.10045.3.1.7',
    curve: 'P-256',
    size: 32,
    hash: 'sha256',
    csrSignature: '1.2.840.10045.4.3.2',
    flags: ['ecdsa-sha2-256-nistp256'],
  },
  'ecdsa-p384': {
    type: 'ec',
    title: 'ECDSA P-384',
    curveOid: '1.3.132.0.34',
    curve: 'P-384',
    size: 48,
    hash: 'sha384',
    csrSignature: '1.2.840.10045.4.3.3',
    flags: ['ecdsa-sha2-384-nistp384'],
  },
  'ecdsa-p521': {
    type: 'ec',
    title: 'ECDSA P-521',
    curveOid: '1.3.132.0.35',
    curve: 'P-521',
    size: 66,
    hash: 'sha512',
    csrSignature: '1.2.840.10045.4.3.4',
    flags: ['ecdsa-sha2-512-nistp521'],
  },
  'rsa-2048': rsa(2048),
  'rsa-3072': rsa(3072),
  'rsa-4096': rsa(4096),
  ed25519: {
    type: 'ed25519',
    title: 'Ed25519',
    hash: null,
    csrSignature: '1.3.101.112',
    // The key of Ed25519ph is the same one; what the client does with it later is not seen here.
    flags: ['ed25519', 'ed25519-ph'],
  },
} as const satisfies Record<string, KeyAlgorithm>;

export type KeyAlgorithmName = keyof typeof keyAlgorithms;

export const keyAlgorithmNames = Object.keys(keyAlgorithms) as readonly KeyAlgorithmName[];

/** Every value that --client-signing-algorithms takes. */
export const signingAlgorithmFlags: readonly string[] = keyAlgorithmNames.flatMap((name) => keyAlgorithms[name].flags);

/** What the proof of a key is made with, for messages: "ECDSA P-256 with SHA-256". */
export function proofTitle(algorithm: KeyAlgorithm): string {
  return algorithm.hash === null
    ? algorithm.title
    : `${algorithm.title}${algorithm.type === 'rsa' ? ' (PKCS#1 v1.5)' : ''} with SHA-${algorithm.hash.slice(3)}`;
}
