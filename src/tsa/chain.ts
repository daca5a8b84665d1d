import { createPublicKey, X509Certificate } from 'node:crypto';
import { isSameKey } from '../ca/same-key.js';
import type { Signer } from '../ca/signer.js';
import { AppError, messageOf } from '../errors.js';
import { type Certificate, certificateUse, keyUsageBit, parseCertificate } from '../x509/certificate.js';
import { children, readDer, readOid } from '../x509/der.js';
import { describeName } from '../x509/name.js';
import { decodePemAll } from '../x509/pem.js';

const timeStamping = '1.3.6.1.5.5.7.3.8';
const extendedKeyUsage = '2.5.29.37';

/** The certificates of a timestamp authority, checked. */
export interface TsaChain {
  /** DER, the authority's own first, root last. */
  readonly certificates: readonly Uint8Array[];
  /** The window in which every one of them is valid. */
  readonly notBefore: Date;
  readonly notAfter: Date;
}

interface Link {
  readonly certificate: Certificate;
  readonly x509: X509Certificate;
  /** "certificate 1 of 2 (CN=…)", for messages. */
  readonly title: string;
}

/**
 * Reads the PEM chain of a timestamp authority: its own certificate first, self-signed root last. The first must hold
 * the signer's key and the extended key usage timeStamping, critical and alone (RFC 3161 Section 2.3); the others must
 * be CA certificates that issued each the one before; all must be valid at `now` (milliseconds since the epoch).
 * Throws AppError STARTUP that names the certificate and what is wrong with it.
 */
export function loadTsaChain(pem: string, signer: Signer, now: number): TsaChain {
  const links = readLinks(pem);
  const [own, ...issuers] = links;
  if (own === undefined) {
    throw new AppError(
      'STARTUP',
      'found no PEM block "CERTIFICATE"; expected the chain, the timestamp authority first and the root last',
    );
  }
  const problem =
    ownProblem(own, signer) ??
    first(issuers, issuerProblem) ??
    first(links, (link, index) => signatureProblem(link, links[index + 1])) ??
    first(links, (link) => validityProblem(link, now));
  if (problem !== undefined) throw new AppError('STARTUP', problem);
  return {
    certificates: links.map(({ certificate }) => certificate.der),
    notBefore: new Date(Math.max(...links.map(({ certificate }) => certificate.notBefore.getTime()))),
    notAfter: new Date(Math.min(...links.map(({ certificate }) => certificate.notAfter.getTime()))),
  };
}

function readLinks(pem: string): readonly Link[] {
  try {
    const all = decodePemAll(pem, 'CERTIFICATE');
    return all.map((der, index) => {
      const certificate = parseCertificate(der);
      const title = `certificate ${index + 1} of ${all.length} (${describeName(certificate.subject)})`;
      return { certificate, x509: new X509Certificate(der), title };
    });
  } catch (cause) {
    throw new AppError('STARTUP', `the certificate chain cannot be read: ${messageOf(cause)}`, { cause });
  }
}

function first(
  links: readonly Link[],
  problemOf: (link: Link, index: number) => string | undefined,
): string | undefined {
  return links.map(problemOf).find((problem) => problem !== undefined);
}

function ownProblem({ certificate, title }: Link, signer: Signer): string | undefined {
  const key = createPublicKey({ key: Buffer.from(certificate.spki), format: 'der', type: 'spki' });
  if (!isSameKey(key, signer.publicKey)) {
    return `${title} is of another key; expected the certificate of the timestamp authority's key to come first`;
  }
  const usage = certificate.extensions.find(({ oid }) => oid === extendedKeyUsage);
  const purposes = usage === undefined ? [] : children(readDer(usage.value)).map((node) => readOid(node, 'a purpose'));
  if (usage?.critical !== true || purposes.length !== 1 || purposes[0] !== timeStamping) {
    return `${title} needs the extended key usage timeStamping, critical and alone (RFC 3161 Section 2.3)`;
  }
  const { keyUsage } = certificateUse(certificate);
  return keyUsage === undefined || (keyUsage & keyUsageBit.digitalSignature) !== 0
    ? undefined
    : `${title} may not sign: its keyUsage has no digitalSignature`;
}

function issuerProblem({ certificate, title }: Link): string | undefined {
  const { basicConstraints, extendedKeyUsage: purposes } = certificateUse(certificate);
  if (basicConstraints?.ca !== true) return `${title} is not a CA certificate; expected basicConstraints with CA:TRUE`;
  const allows = purposes === undefined || purposes.includes(timeStamping) || purposes.includes('2.5.29.37.0');
  return allows ? undefined : `${title} restricts the extended key usage to others than timeStamping`;
}

function signatureProblem({ x509, title }: Link, next: Link | undefined): string | undefined {
  const issuer = next?.x509 ?? x509;
  if (isIssuedBy(x509, issuer)) return undefined;
  return next === undefined
    ? `${title} is not self-signed; expected the chain to end with a root`
    : `${title} was not issued by ${next.title}, the next one in the chain`;
}

function isIssuedBy(x509: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return x509.issuer === issuer.subject && x509.verify(issuer.publicKey);
  } catch {
    // OpenSSL throws where key and algorithm do not fit each other.
    return false;
  }
}

function validityProblem({ certificate, title }: Link, now: number): string | undefined {
  const { notBefore, notAfter } = certificate;
  if (now < notBefore.getTime()) return `${title} is not valid before ${notBefore.toISOString()}`;
  return now > notAfter.getTime() ? `${title} has expired at ${notAfter.toISOString()}` : undefined;
}
