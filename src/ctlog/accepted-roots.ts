import { X509Certificate } from 'node:crypto';
import { type AcceptedIssuer, issuedBy, nameOfChain, parseIssuer, parseSubmitted, refused } from './accepted-issuer.js';

/** Finds the issuer of a submission among strangers' chains; throws AppError CT_SUBMISSION_REFUSED with the reason. */
export type FindIssuer = (leaf: X509Certificate, above: readonly Uint8Array[]) => AcceptedIssuer;

/** Chains of one root are few; this bounds what somebody with a willing CA could make us remember. */
const maxRemembered = 1000;

/**
 * Accepts by root (RFC 6962 Sections 3.1 and 4.7): each certificate of the submitted path must certify the one before,
 * and the path must contain one of `roots`, or end below one, which is then added. A root may be any CA certificate: an
 * intermediate there accepts what it issued and nothing beside it.
 *
 * `roots` gives DER; a new array means that they changed. Paths that were verified are remembered until then.
 */
export function acceptByRoot(roots: () => readonly Uint8Array[]): FindIssuer {
  let anchors: readonly X509Certificate[] = [];
  let parsedFrom: readonly Uint8Array[] | undefined;
  const verified = new Map<string, AcceptedIssuer>();

  function refresh(): void {
    const now = roots();
    if (now === parsedFrom) return;
    anchors = now.map((der) => new X509Certificate(der));
    parsedFrom = now;
    verified.clear();
  }

  function issuerAbove(above: readonly Uint8Array[]): AcceptedIssuer {
    const name = nameOfChain(above);
    const known = verified.get(name);
    if (known !== undefined) return known;
    const issuer = parseIssuer(verifyPath(above, anchors));
    if (verified.size >= maxRemembered) verified.clear();
    verified.set(name, issuer);
    return issuer;
  }

  return (leaf, above) => {
    refresh();
    if (anchors.length === 0) {
      throw refused('the certificate was not issued by a certificate authority that this log serves (see get-roots)');
    }
    if (above.length === 0) {
      const root = anchors.find((anchor) => issuedBy(leaf, anchor));
      if (root === undefined) throw leadsNowhere();
      return parseIssuer([root.raw]);
    }
    const issuer = issuerAbove(above);
    if (!issuedBy(leaf, issuer.certificate)) throw refused('certificate 2 of the chain did not issue certificate 1');
    return issuer;
  };
}

/** The path with its root; `above` starts with the second certificate of the submission. */
function verifyPath(above: readonly Uint8Array[], anchors: readonly X509Certificate[]): readonly Uint8Array[] {
  const path = above.map((der, i) => parseSubmitted(der, i + 2));
  path.forEach((certificate, i) => {
    if (!certificate.ca) throw refused(`certificate ${i + 2} of the chain is not one of a certificate authority`);
    const issuer = path[i + 1];
    if (issuer !== undefined && !issuedBy(certificate, issuer)) {
      throw refused(`certificate ${i + 3} of the chain did not issue certificate ${i + 2}`);
    }
  });
  if (path.some((certificate) => anchors.some((anchor) => anchor.raw.equals(certificate.raw)))) return above;
  const last = path.at(-1);
  const root = last && anchors.find((anchor) => issuedBy(last, anchor));
  if (root === undefined) throw leadsNowhere();
  return [...above, root.raw];
}

function leadsNowhere(): Error {
  return refused('the chain does not lead to a root that this log accepts (see get-roots)');
}
