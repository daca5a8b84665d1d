import { createPublicKey, hash, type KeyObject, X509Certificate } from 'node:crypto';
import { AppError } from '../errors.js';
import {
  type Certificate,
  type CertificateUse,
  certificateUse,
  keyUsageBit,
  parseCertificate,
} from '../x509/certificate.js';
import { DerError } from '../x509/der.js';
import { describeName } from '../x509/name.js';
import { decodePemAll, encodePem, PemError } from '../x509/pem.js';
import { keyIdOf } from '../x509/spki.js';
import type { CertificateAuthority } from './authority.js';
import { isSameKey } from './same-key.js';
import type { Signer } from './signer.js';

const codeSigning = '1.3.6.1.5.5.7.3.3';
const anyUsage = '2.5.29.37.0';

/** One certificate of the chain with what its checks need. */
interface Link {
  readonly certificate: Certificate;
  readonly use: CertificateUse;
  readonly publicKey: KeyObject;
  /** 0 for the issuing CA: also the number of CA certificates below this one. */
  readonly index: number;
  /** "certificate 1 of 2 (CN=…)", for messages. */
  readonly title: string;
}

/**
 * Reads a PEM chain, issuing CA first and root last, and makes it a CertificateAuthority with `signer` once everything
 * that clients will check is in order at `now` (milliseconds): CA certificates all, each signed by the next, the last by
 * itself, path lengths, code signing, validity, and the signer's key in the first.
 *
 * Throws AppError STARTUP that names the certificate and what is wrong with it.
 */
export function loadChain(pem: string | Uint8Array, signer: Signer, now: number): CertificateAuthority {
  const links = readLinks(pem);
  checkKey(links, signer.publicKey);
  links.forEach((link, index) => {
    for (const check of linkChecks) {
      const wrong = check(link, now);
      if (wrong !== undefined) throw new AppError('STARTUP', `${link.title} ${wrong}`);
    }
    checkIssuedBy(link, links[index + 1] ?? link);
  });
  const [issuing] = links;
  if (issuing === undefined) throw new AppError('STARTUP', 'the chain is empty');
  checkIssuingUse(issuing, links.length);
  return toAuthority(issuing, links, signer);
}

function readLinks(pem: string | Uint8Array): readonly Link[] {
  const certificates = readPem(pem);
  if (certificates.length === 0) {
    throw new AppError(
      'STARTUP',
      'found no PEM block "CERTIFICATE"; expected the chain, issuing CA first and root last',
    );
  }
  return certificates.map((der, index) => {
    const place = `certificate ${index + 1} of ${certificates.length}`;
    try {
      const certificate = parseCertificate(der);
      const title = `${place} (${describeName(certificate.subject)})`;
      const publicKey = createPublicKey({ key: Buffer.from(certificate.spki), format: 'der', type: 'spki' });
      return { certificate, use: certificateUse(certificate), publicKey, index, title };
    } catch (cause) {
      const why = cause instanceof DerError ? cause.message : 'its public key cannot be read';
      throw new AppError('STARTUP', `${place} is malformed: ${why}`, { cause });
    }
  });
}

function readPem(pem: string | Uint8Array): readonly Uint8Array[] {
  try {
    return decodePemAll(pem, 'CERTIFICATE');
  } catch (cause) {
    if (!(cause instanceof PemError)) throw cause;
    throw new AppError('STARTUP', `the certificate chain cannot be read: ${cause.message}`, { cause });
  }
}

/** First, since most mix-ups show here: a key of another CA, or a chain in the wrong order. */
function checkKey(links: readonly Link[], publicKey: KeyObject): void {
  const owner = links.find((link) => isSameKey(link.publicKey, publicKey));
  if (owner?.index === 0) return;
  throw new AppError(
    'STARTUP',
    owner === undefined
      ? `the CA key belongs to no certificate of the chain; expected the key of ${links[0]?.title}`
      : `the CA key belongs to ${owner.title}; expected it to come first: issuing CA first, root last`,
  );
}

/** Each says what is wrong with one certificate by itself, to be read after its title. */
const linkChecks: readonly ((link: Link, now: number) => string | undefined)[] = [
  ({ use }) =>
    use.basicConstraints?.ca ? undefined : 'is not a CA certificate; expected basicConstraints with CA:TRUE',
  ({ use }) =>
    use.keyUsage === undefined || (use.keyUsage & keyUsageBit.keyCertSign) !== 0
      ? undefined
      : 'may not sign certificates; expected keyUsage with keyCertSign',
  ({ use, index }) => {
    const limit = use.basicConstraints?.pathLength;
    return limit === undefined || limit >= index
      ? undefined
      : `allows ${limit} CA certificates below it (pathlen), and the chain has ${index}`;
  },
  ({ use }) => {
    const usage = use.extendedKeyUsage;
    return usage === undefined || usage.includes(codeSigning) || usage.includes(anyUsage)
      ? undefined
      : 'restricts the extended key usage to others than code signing; expected codeSigning among them, or no restriction';
  },
  ({ certificate: { notBefore } }, now) =>
    now < notBefore.getTime() ? `is not valid before ${notBefore.toISOString()}` : undefined,
  ({ certificate: { notAfter } }, now) =>
    now > notAfter.getTime() ? `has expired at ${notAfter.toISOString()}` : undefined,
];

/** Verifiers chain extended key usages and demand it of an issuing CA below a root, as Fulcio does at its start. */
function checkIssuingUse(issuing: Link, length: number): void {
  if (length === 1 || issuing.use.extendedKeyUsage?.includes(codeSigning)) return;
  throw new AppError('STARTUP', `${issuing.title} is an intermediate without extended key usage codeSigning`);
}

/** Signature algorithms that verifiers still take in a chain; SHA-1 and MD5 are not among them. */
const chainSignatures = new Set([
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.2.840.113549.1.1.10',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.3.101.112',
]);

function checkIssuedBy(link: Link, issuer: Link): void {
  const { certificate, title } = link;
  const isLast = link === issuer;
  if (Buffer.compare(certificate.issuer, issuer.certificate.subject) !== 0) {
    const found = `${title} was issued by ${describeName(certificate.issuer)}`;
    throw new AppError(
      'STARTUP',
      isLast
        ? `${found}, whose certificate is missing; expected the chain to end with a self-signed root`
        : `${found}; expected ${issuer.title}, the next one in the chain`,
    );
  }
  if (!isLast && !chainSignatures.has(certificate.signatureAlgorithmOid)) {
    throw new AppError(
      'STARTUP',
      `${title} is signed with the algorithm ${certificate.signatureAlgorithmOid}, which clients refuse`,
    );
  }
  if (!isSignedBy(certificate, issuer.publicKey)) {
    throw new AppError('STARTUP', `the signature of ${title} does not verify with the key of ${issuer.title}`);
  }
}

function isSignedBy(certificate: Certificate, publicKey: KeyObject): boolean {
  try {
    return new X509Certificate(certificate.der).verify(publicKey);
  } catch {
    // OpenSSL throws where key and algorithm do not fit each other.
    return false;
  }
}

function toAuthority(issuing: Link, links: readonly Link[], signer: Signer): CertificateAuthority {
  const { spki, subject } = issuing.certificate;
  const chain = links.map(({ certificate }) => certificate.der);
  return {
    signer,
    chain,
    chainPem: chain.map((der) => encodePem('CERTIFICATE', der)),
    subjectName: subject,
    // A CA certificate without the extension is identified by what the extension would most likely have said.
    subjectKeyId: issuing.use.subjectKeyId ?? keyIdOf(spki),
    issuerKeyHash: hash('sha256', spki, 'buffer'),
    notBefore: new Date(Math.max(...links.map(({ certificate }) => certificate.notBefore.getTime()))),
    notAfter: new Date(Math.min(...links.map(({ certificate }) => certificate.notAfter.getTime()))),
  };
}
