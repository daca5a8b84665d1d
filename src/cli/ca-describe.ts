import { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { extensionOid } from '../ca/profile.js';
import { describeKeyUsage, describePurposes } from '../ca/profile-rules.js';
import { kindOf } from '../ca/signature-algorithm.js';
import { certificateUse, type Extension, parseCertificate } from '../x509/certificate.js';
import { DerError } from '../x509/der.js';
import { describeName } from '../x509/name.js';

/** What a certificate says, in words; the field names are those of `mayfly ca show --json`. */
export interface CertificateDescription {
  /** "CN=…, O=…". */
  readonly subject: string;
  readonly issuer: string;
  /** Hexadecimal, as all bytes here. */
  readonly serial: string;
  readonly key: string;
  readonly signatureAlgorithm: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SHA-256 of the certificate's DER. */
  readonly fingerprint: string;
  /** SHA-256 of the key's DER SubjectPublicKeyInfo. */
  readonly keyFingerprint: string;
  readonly subjectKeyId: string | undefined;
  readonly authorityKeyId: string | undefined;
  readonly extensions: readonly ExtensionDescription[];
}

export interface ExtensionDescription {
  /** Dotted. */
  readonly oid: string;
  readonly name: string;
  readonly critical: boolean;
  /** In words where the extension is known, otherwise its DER in hexadecimal. */
  readonly value: string;
}

const signatureTitles: Readonly<Record<string, string>> = {
  '1.2.840.10045.4.1': 'ECDSA with SHA-1',
  '1.2.840.10045.4.3.2': 'ECDSA with SHA-256',
  '1.2.840.10045.4.3.3': 'ECDSA with SHA-384',
  '1.2.840.10045.4.3.4': 'ECDSA with SHA-512',
  '1.2.840.113549.1.1.5': 'RSA with SHA-1',
  '1.2.840.113549.1.1.10': 'RSA-PSS',
  '1.2.840.113549.1.1.11': 'RSA with SHA-256',
  '1.2.840.113549.1.1.12': 'RSA with SHA-384',
  '1.2.840.113549.1.1.13': 'RSA with SHA-512',
  '1.3.101.112': 'Ed25519',
};

const extensionTitles: Readonly<Record<string, string>> = {
  [extensionOid.subjectKeyId]: 'subject key id',
  [extensionOid.keyUsage]: 'key usage',
  '2.5.29.17': 'subject alternative name',
  [extensionOid.basicConstraints]: 'basic constraints',
  [extensionOid.nameConstraints]: 'name constraints',
  '2.5.29.31': 'CRL distribution points',
  '2.5.29.32': 'certificate policies',
  [extensionOid.authorityKeyId]: 'authority key id',
  [extensionOid.extendedKeyUsage]: 'extended key usage',
  '1.3.6.1.5.5.7.1.1': 'authority information access',
};

/** Describes a DER certificate; throws DerError, or the error of OpenSSL for a key it cannot read. */
export function describeCertificate(der: Uint8Array): CertificateDescription {
  const certificate = parseCertificate(der);
  const use = certificateUse(certificate);
  const { spki, signatureAlgorithmOid: algorithm } = certificate;
  return {
    subject: describeName(certificate.subject),
    issuer: describeName(certificate.issuer),
    serial: hex(certificate.serial) ?? '',
    key: kindOf(createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })),
    signatureAlgorithm: signatureTitles[algorithm] ?? algorithm,
    notBefore: certificate.notBefore,
    notAfter: certificate.notAfter,
    fingerprint: hash('sha256', der),
    keyFingerprint: hash('sha256', spki),
    subjectKeyId: hex(use.subjectKeyId),
    authorityKeyId: hex(use.authorityKeyId),
    extensions: describeExtensions(certificate.extensions),
  };
}

/** SHA-256 of a public key's DER SubjectPublicKeyInfo, in hexadecimal. */
export function keyFingerprint(key: KeyObject): string {
  return hash('sha256', key.export({ type: 'spki', format: 'der' }));
}

/** Extensions in words; one that is malformed, or unknown, in hexadecimal. */
export function describeExtensions(extensions: readonly Extension[]): readonly ExtensionDescription[] {
  return extensions.map((extension) => ({
    oid: extension.oid,
    name: extensionTitles[extension.oid] ?? extension.oid,
    critical: extension.critical,
    value: describeValue(extension),
  }));
}

function describeValue(extension: Extension): string {
  try {
    const use = certificateUse({ extensions: [extension] });
    const { basicConstraints, keyUsage, extendedKeyUsage } = use;
    if (basicConstraints !== undefined) {
      const { ca, pathLength } = basicConstraints;
      return `CA:${ca ? 'TRUE' : 'FALSE'}${pathLength === undefined ? '' : `, pathlen ${pathLength}`}`;
    }
    if (keyUsage !== undefined) return describeKeyUsage(keyUsage);
    if (extendedKeyUsage !== undefined) return describePurposes(extendedKeyUsage);
    const keyId = use.subjectKeyId ?? use.authorityKeyId;
    return hex(keyId ?? extension.value) ?? '';
  } catch (error) {
    if (error instanceof DerError) return `${hex(extension.value)} (malformed)`;
    throw error;
  }
}

/** The lines that people compare: subject, key, validity, fingerprints. */
export function summaryLines(certificate: CertificateDescription): readonly string[] {
  const { subject, key, notBefore, notAfter, fingerprint, keyFingerprint: keyHash } = certificate;
  return [
    `subject      ${subject}`,
    `valid        ${notBefore.toISOString()} to ${notAfter.toISOString()}`,
    `certificate  SHA-256 ${fingerprint}`,
    `key          ${key}, SHA-256 ${keyHash}`,
  ];
}

/** Everything that a certificate says, for a terminal. */
export function certificateLines(certificate: CertificateDescription): readonly string[] {
  const { issuer, serial, signatureAlgorithm, extensions } = certificate;
  return [
    ...summaryLines(certificate),
    `issuer       ${issuer}`,
    `serial       ${serial}`,
    `signature    ${signatureAlgorithm}`,
    ...extensionLines(extensions),
  ];
}

/** One line for each extension. */
export function extensionLines(extensions: readonly ExtensionDescription[]): readonly string[] {
  return extensions.map(({ name, critical, value }) => `${name}${critical ? ' (critical)' : ''}: ${value}`);
}

function hex(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString('hex');
}
