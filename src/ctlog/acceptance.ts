import type { X509Certificate } from 'node:crypto';
import { messageOf } from '../errors.js';
import { type AcceptedIssuer, issuedBy, nameOfChain, parseIssuer, parseSubmitted, refused } from './accepted-issuer.js';
import { acceptByRoot, type FindIssuer } from './accepted-roots.js';
import type { Candidate, IssuerChain } from './candidate.js';
import { withoutPoison } from './precert-tbs.js';

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

/**
 * `acceptedIssuers` gives the chains in force, issuing CA first and root last; what one of them issued must come with that
 * chain. `acceptedRoots` are those whose every path is good (`acceptByRoot`). Both may change between calls.
 */
export function openAcceptance(
  acceptedIssuers: () => readonly (readonly Uint8Array[])[],
  acceptedRoots: () => readonly Uint8Array[],
): Acceptance {
  const byRoot = acceptByRoot(acceptedRoots);
  const parsed = new Map<string, AcceptedIssuer>();
  /** A CA hands in the same array with every submission. */
  const byArray = new WeakMap<readonly Uint8Array[], AcceptedIssuer>();

  function accepted(chain: readonly Uint8Array[]): AcceptedIssuer {
    const known = byArray.get(chain);
    if (known !== undefined) return known;
    const name = nameOfChain(chain);
    const issuer = parsed.get(name) ?? parseIssuer(chain);
    parsed.set(name, issuer);
    byArray.set(chain, issuer);
    return issuer;
  }

  return {
    check: (kind, submitted) => checkSubmission(kind, submitted, issuerFinder(acceptedIssuers().map(accepted), byRoot)),
    chainOf: (certificates) => accepted(certificates).chain,
    roots() {
      const roots = [...acceptedIssuers().flatMap((chain) => chain.slice(-1)), ...acceptedRoots()];
      return [...new Map(roots.map((der) => [Buffer.from(der).toString('base64'), der])).values()];
    },
  };
}

/** Our own issuers first; `byRoot` says why when nobody knows the issuer. */
function issuerFinder(issuers: readonly AcceptedIssuer[], byRoot: FindIssuer): FindIssuer {
  return (leaf, above) => {
    const issuer = issuers.find(({ certificate }) => issuedBy(leaf, certificate));
    if (issuer === undefined) return byRoot(leaf, above);
    requireSamePath(above, issuer.chain.certificates);
    return issuer;
  };
}

function checkSubmission(kind: 'x509' | 'precert', submitted: readonly Uint8Array[], issuerOf: FindIssuer): Candidate {
  const [der, ...above] = submitted;
  if (der === undefined) throw refused('the chain is empty; expected the certificate and its issuers');
  const certificate: X509Certificate = parseSubmitted(der, 1);
  const tbs = stripPoison(der);
  const issuer = issuerOf(certificate, above);
  if (kind === 'precert') {
    if (tbs === undefined) throw refused('the certificate has no poison extension; add-chain takes final certificates');
    refuseSpecialIssuer(issuer);
    const entry = { type: 'precert', issuerKeyHash: issuer.keyHash, tbs } as const;
    return { entry, precertificate: der, issuers: issuer.chain };
  }
  if (tbs !== undefined) throw refused('the certificate has the poison extension; add-pre-chain takes precertificates');
  return { entry: { type: 'x509', certificate: der }, issuers: issuer.chain };
}

/** Extended key usage of a Precertificate Signing Certificate. */
const precertificateSigning = '1.3.6.1.4.1.11129.2.4.4';

/**
 * With a Precertificate Signing Certificate the entry would be of another issuer than the one that signed (RFC 6962
 * Section 3.2); without that change the SCT would not fit the final certificate, and nobody would notice before it.
 */
function refuseSpecialIssuer({ certificate }: AcceptedIssuer): void {
  if (!certificate.keyUsage?.includes(precertificateSigning)) return;
  throw refused(
    'the precertificate was signed by a Precertificate Signing Certificate; this log takes only those that the issuing ' +
      'certificate authority itself signed',
  );
}

function stripPoison(der: Uint8Array): Uint8Array | undefined {
  try {
    return withoutPoison(der);
  } catch (cause) {
    throw refused(`the first certificate has ${messageOf(cause)}`, cause);
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
