import { createHash, X509Certificate } from 'node:crypto';
import { AppError, messageOf } from '../errors.js';
import { type Candidate, type IssuerChain, issuerChain } from './candidate.js';
import { withoutPoison } from './precert-tbs.js';

/** An issuing CA whose certificates the log takes. */
interface AcceptedIssuer {
  readonly chain: IssuerChain;
  readonly certificate: X509Certificate;
  /** SHA-256 of the DER SubjectPublicKeyInfo. */
  readonly keyHash: Uint8Array;
}

/** Decides which submissions of strangers enter the log. */
export interface Acceptance {
  /**
   * Validates a submission of add-chain or add-pre-chain (RFC 6962 Sections 3.1, 4.1 and 4.2): DER, the certificate
   * first, each certified by the next, the root may be left out. Throws AppError CT_SUBMISSION_REFUSED with the reason.
   */
  check(kind: 'x509' | 'precert', submitted: readonly Uint8Array[]): Candidate;
  /** The chain, as the log keeps it, for a submission of our own CA. */
  chainOf(certificates: readonly Uint8Array[]): IssuerChain;
  /** DER of the roots, each once. */
  roots(): Uint8Array[];
}

/** `acceptedIssuers` gives the chains in force, issuing CA first and root last; it may change between calls. */
export function openAcceptance(acceptedIssuers: () => readonly (readonly Uint8Array[])[]): Acceptance {
  const parsed = new Map<string, AcceptedIssuer>();
  /** A CA hands in the same array with every submission. */
  const byArray = new WeakMap<readonly Uint8Array[], AcceptedIssuer>();

  function accepted(chain: readonly Uint8Array[]): AcceptedIssuer {
    const known = byArray.get(chain);
    if (known !== undefined) return known;
    const name = nameOf(chain);
    const issuer = parsed.get(name) ?? parseIssuer(chain);
    parsed.set(name, issuer);
    byArray.set(chain, issuer);
    return issuer;
  }

  return {
    check: (kind, submitted) => checkSubmission(kind, submitted, acceptedIssuers().map(accepted)),
    chainOf: (certificates) => accepted(certificates).chain,
    roots() {
      const roots = acceptedIssuers().flatMap((chain) => chain.slice(-1));
      return [...new Map(roots.map((der) => [Buffer.from(der).toString('base64'), der])).values()];
    },
  };
}

/** A map key for the whole chain, byte for byte. */
function nameOf(chain: readonly Uint8Array[]): string {
  return chain.map((der) => createHash('sha256').update(der).digest('base64')).join('');
}

function parseIssuer(chain: readonly Uint8Array[]): AcceptedIssuer {
  const [issuing] = chain;
  if (issuing === undefined) throw new TypeError('a chain of a certificate authority holds at least one certificate');
  const certificate = new X509Certificate(issuing);
  const keyHash = createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest();
  return { chain: issuerChain(chain), certificate, keyHash };
}

function refused(reason: string, cause?: unknown): AppError {
  return new AppError('CT_SUBMISSION_REFUSED', reason, cause === undefined ? {} : { cause });
}

function checkSubmission(
  kind: 'x509' | 'precert',
  submitted: readonly Uint8Array[],
  issuers: readonly AcceptedIssuer[],
): Candidate {
  const [der, ...above] = submitted;
  if (der === undefined) throw refused('the chain is empty; expected the certificate and its issuers');
  const certificate = parseCertificate(der);
  const tbs = stripPoison(der);
  const issuer = issuers.find((candidate) => issuedBy(certificate, candidate));
  if (issuer === undefined) {
    throw refused('the certificate was not issued by a certificate authority that this log serves (see get-roots)');
  }
  requireSamePath(above, issuer.chain.certificates);
  if (kind === 'precert') {
    if (tbs === undefined) throw refused('the certificate has no poison extension; add-chain takes final certificates');
    const entry = { type: 'precert', issuerKeyHash: issuer.keyHash, tbs } as const;
    return { entry, precertificate: der, issuers: issuer.chain };
  }
  if (tbs !== undefined) throw refused('the certificate has the poison extension; add-pre-chain takes precertificates');
  return { entry: { type: 'x509', certificate: der }, issuers: issuer.chain };
}

function parseCertificate(der: Uint8Array): X509Certificate {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(der);
  } catch (cause) {
    throw refused('the first element of the chain is not a DER certificate', cause);
  }
  // OpenSSL stops at the certificate's end and would let PEM pass.
  if (Buffer.compare(certificate.raw, der) !== 0)
    throw refused('the first certificate is not exactly one DER certificate');
  return certificate;
}

function stripPoison(der: Uint8Array): Uint8Array | undefined {
  try {
    return withoutPoison(der);
  } catch (cause) {
    throw refused(`the first certificate has ${messageOf(cause)}`, cause);
  }
}

function issuedBy(certificate: X509Certificate, issuer: AcceptedIssuer): boolean {
  if (certificate.issuer !== issuer.certificate.subject) return false;
  try {
    return certificate.verify(issuer.certificate.publicKey);
  } catch {
    return false;
  }
}

/** The submitted path must be the accepted one, byte for byte, with or without its root. */
function requireSamePath(above: readonly Uint8Array[], chain: readonly Uint8Array[]): void {
  if (above.length !== chain.length && above.length !== chain.length - 1) {
    throw refused(
      `the chain has ${above.length} certificates above the first; expected ${chain.length - 1} without the root or ` +
        `${chain.length} with it`,
    );
  }
  above.forEach((der, i) => {
    const expected = chain[i];
    if (expected === undefined || Buffer.compare(der, expected) !== 0) {
      throw refused(`certificate ${i + 2} of the chain is not the one this log knows in that place`);
    }
  });
}
