import type { KeyObject } from 'node:crypto';
import type { SignatureAlgorithm } from './signature-algorithm.js';

/**
 * A private key in an HSM or a KMS: what a backend has to provide to become a Signer (see openRemoteSigner).
 *
 * Every method may be called again after it failed, and then connects anew where that is needed. A call whose `signal`
 * is aborted will not be waited for any longer: it lets go of what it holds, and its late answer goes nowhere.
 */
export interface RemoteKey {
  /** Which key it is, for messages: `the KMS key awskms:///alias/ca`. No password, PIN or token. */
  readonly describe: string;
  /** The public key as the backend has it now; asked again before a key that failed is trusted again. */
  publicKey(signal: AbortSignal): Promise<KeyObject>;
  /**
   * A signature over `data` as it stands in a certificate: ECDSA as DER (ecdsaDerFromRaw helps), RSA PKCS#1 v1.5,
   * Ed25519 raw. For an API that takes digests there is digestFor. Called concurrently, up to the signer's limit.
   */
  sign(data: Uint8Array, algorithm: SignatureAlgorithm, signal: AbortSignal): Promise<Uint8Array>;
  close(): Promise<void>;
}
