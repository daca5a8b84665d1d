import type { Signer } from './signer.js';

/**
 * One issuing CA: its signer and its checked chain. A request takes one of these at its start and keeps it to its end,
 * so that a rotation in between cannot mix two CAs in one answer.
 */
export interface CertificateAuthority {
  readonly signer: Signer;
  /** DER, issuing CA first, root last. */
  readonly chain: readonly Uint8Array[];
  /** The same certificates as PEM, each ending in a newline. */
  readonly chainPem: readonly string[];
  /** DER Name of the issuing CA's subject, byte for byte: the leaf's issuer field. */
  readonly subjectName: Uint8Array;
  /** The issuing CA's subject key identifier: the leaf's authority key identifier. */
  readonly subjectKeyId: Uint8Array;
  /** SHA-256 of the issuing CA's DER SubjectPublicKeyInfo (RFC 6962 issuer_key_hash). */
  readonly issuerKeyHash: Uint8Array;
  /** The window in which every certificate of the chain is valid. */
  readonly notBefore: Date;
  readonly notAfter: Date;
}
