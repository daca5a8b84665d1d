import { createHash, X509Certificate } from 'node:crypto';
import { AppError } from '../errors.js';
import { type IssuerChain, issuerChain } from './candidate.js';

/** An issuing CA whose certificates the log takes. */
export interface AcceptedIssuer {
  readonly chain: IssuerChain;
  readonly certificate: X509Certificate;
  /** SHA-256 of the DER SubjectPublicKeyInfo. */
  readonly keyHash: Uint8Array;
}

/** From DER certificates, issuing CA first and root last; throws TypeError for none and what OpenSSL says of a bad one. */
export function parseIssuer(chain: readonly Uint8Array[]): AcceptedIssuer {
  const [issuing] = chain;
  if (issuing === undefined) throw new TypeError('a chain of a certificate authority holds at least one certificate');
  const certificate = new X509Certificate(issuing);
  const keyHash = createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest();
  return { chain: issuerChain(chain), certificate, keyHash };
}

/** A map key for the whole chain, byte for byte. */
export function nameOfChain(chain: readonly Uint8Array[]): string {
  return chain.map((der) => createHash('sha256').update(der).digest('base64')).join('');
}

/** Whether `issuer` certified it: by name and by signature. */
export function issuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  if (certificate.issuer !== issuer.subject) return false;
  try {
    return certificate.verify(issuer.publicKey);
  } catch {
    return false;
  }
}

/** The AppError CT_SUBMISSION_REFUSED of a submission that the log does not take. */
export function refused(reason: string, cause?: unknown): AppError {
  return new AppError('CT_SUBMISSION_REFUSED', reason, cause === undefined ? {} : { cause });
}

/** Exactly one DER certificate; `place` counts from 1, for the message. */
export function parseSubmitted(der: Uint8Array, place: number): X509Certificate {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(der);
  } catch (cause) {
    throw refused(`element ${place} of the chain is not a DER certificate`, cause);
  }
  // OpenSSL stops at the certificate's end and would let PEM pass.
  if (Buffer.compare(certificate.raw, der) !== 0) {
    throw refused(`element ${place} of the chain is not exactly one DER certificate`);
  }
  return certificate;
}
