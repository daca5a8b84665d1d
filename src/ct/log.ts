import type { KeyObject } from 'node:crypto';
import type { Cancellation } from '../cancellation.js';

/**
 * The contract between the certificate authority and any certificate transparency log, our own or somebody else's.
 */

/** What a log is asked to promise: one precertificate and the chain that issued it. */
export interface PrecertSubmission {
  /** DER of the precertificate (with the critical poison extension, RFC 6962 Section 3.1). */
  readonly precertificate: Uint8Array;
  /** DER of the issuing chain: issuing CA first, root last. */
  readonly chain: readonly Uint8Array[];
  /** DER TBSCertificate without the poison: the PreCert.tbs_certificate of RFC 6962 Section 3.2. */
  readonly tbs: Uint8Array;
  /** SHA-256 of the issuing CA's DER SubjectPublicKeyInfo: PreCert.issuer_key_hash. */
  readonly issuerKeyHash: Uint8Array;
}

/** A v1 signed certificate timestamp (RFC 6962 Section 3.2), decoded. */
export interface Sct {
  /** SHA-256 of the log's DER SubjectPublicKeyInfo, 32 bytes. */
  readonly logId: Uint8Array;
  /** Milliseconds since the epoch. */
  readonly timestamp: bigint;
  /** CtExtensions; a static-ct-api log puts the leaf index here. */
  readonly extensions: Uint8Array;
  /** The TLS DigitallySigned struct: hash, signature algorithm, length, signature (RFC 5246 Section 4.7). */
  readonly signature: Uint8Array;
}

/** An SCT before the log's key has signed it. */
export type UnsignedSct = Omit<Sct, 'signature'>;

/**
 * Signs an SCT in its log's place, so that the certificate that embeds it can be signed with it: resolves with the
 * DigitallySigned struct over the submitted entry. `key` is the log's private key.
 */
export type SignSct = (sct: UnsignedSct, key: KeyObject) => Promise<Uint8Array>;

export type Readiness = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/**
 * A log that can be asked for an SCT.
 *
 * `submit` resolves only with an SCT whose log id, signature and timestamp were checked (for another's log) or whose
 * entry is durable and covered by a committed checkpoint (for ours). It throws AppError CT_LOG_UNAVAILABLE or
 * CT_LOG_MISBEHAVED within the bound of its configuration or of `signal`, whichever is first; an aborted submission may
 * still have been logged.
 *
 * A log whose key is in this process may let `signSct` sign, once the entry has its place and before it is durable: what that
 * makes is nobody's until `submit` resolves.
 */
export interface CtLog {
  /** For log lines and /readyz: an origin or a URL. */
  readonly name: string;
  readonly logId: Uint8Array;
  submit(submission: PrecertSubmission, signal?: Cancellation, signSct?: SignSct): Promise<Sct>;
  readiness(): Readiness;
  close(): Promise<void>;
}

/** Every log that an issuance needs, seen as one. */
export interface CtLogs {
  /** For log lines. */
  readonly name: string;
  /**
   * Resolves with the SCTs to embed, at least one, each as CtLog has it; throws AppError CT_LOG_UNAVAILABLE or
   * CT_LOG_MISBEHAVED when they cannot be had. `signSct` is for a lone log.
   */
  submit(submission: PrecertSubmission, signal?: Cancellation, signSct?: SignSct): Promise<readonly Sct[]>;
  readiness(): Readiness;
  close(): Promise<void>;
}
