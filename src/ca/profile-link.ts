import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { type Certificate, type CertificateUse, certificateUse, parseCertificate } from '../x509/certificate.js';
import { describeName, type NameAttribute, nameAttributes } from '../x509/name.js';
import type { CaRole } from './profile.js';

/** Where a certificate stands in its chain, which decides what its profile is. */
export type Position = CaRole | 'between';

/** One certificate of a chain with what the rules of its profile look at. */
export interface ProfileLink {
  readonly certificate: Certificate;
  readonly use: CertificateUse;
  readonly publicKey: KeyObject;
  /** Of the subject. */
  readonly attributes: readonly NameAttribute[];
  /** From 0, the issuing CA or the timestamp authority. */
  readonly index: number;
  /** "certificate 1 of 2 (CN=…)", for messages. */
  readonly title: string;
  readonly isSelfIssued: boolean;
}

/** Takes one certificate, DER, of `count` apart. Throws DerError, or the error of OpenSSL for a key it cannot read. */
export function readLink(der: Uint8Array, index: number, count: number): ProfileLink {
  const certificate = parseCertificate(der);
  const { subject, issuer, spki } = certificate;
  return {
    certificate,
    use: certificateUse(certificate),
    publicKey: createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }),
    attributes: nameAttributes(subject),
    index,
    title: `certificate ${index + 1} of ${count} (${describeName(subject)})`,
    isSelfIssued: Buffer.compare(subject, issuer) === 0,
  };
}

/** Whether `issuer` is named as the issuer of `link`. */
export function names(link: ProfileLink, issuer: ProfileLink): boolean {
  return Buffer.compare(link.certificate.issuer, issuer.certificate.subject) === 0;
}

/** Whether the signature of `link` verifies with the key of `issuer`. */
export function isSignedBy(link: ProfileLink, issuer: ProfileLink): boolean {
  try {
    return new X509Certificate(link.certificate.der).verify(issuer.publicKey);
  } catch {
    // OpenSSL throws where key and algorithm do not fit each other.
    return false;
  }
}
