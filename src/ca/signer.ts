import type { KeyObject } from 'node:crypto';

/**
 * A private key that signs certificates, wherever it lives.
 *
 * `sign` takes the bytes to be signed (never a digest) and resolves with the signature as it stands in a certificate:
 * ECDSA as a DER Ecdsa-Sig-Value (RFC 5480), RSA PKCS#1 v1.5, Ed25519 raw. It throws AppError SIGNER_UNAVAILABLE when
 * the key cannot be used now. Callers may sign concurrently.
 */
export interface Signer {
  readonly publicKey: KeyObject;
  /** DER AlgorithmIdentifier of the signatures it makes (e.g. ecdsa-with-SHA256). */
  readonly signatureAlgorithm: Uint8Array;
  /** The private key itself where it is in this process's memory, so that other threads can sign with it too. */
  readonly privateKey?: KeyObject;
  sign(data: Uint8Array): Promise<Uint8Array>;
  /** Why the key cannot sign now; undefined while it can. Absent where only a call can find out. */
  trouble?(): string | undefined;
  close(): Promise<void>;
}
