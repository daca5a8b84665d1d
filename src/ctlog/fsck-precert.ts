import { X509Certificate } from 'node:crypto';
import { messageOf } from '../errors.js';
import { issuedBy } from './accepted-issuer.js';
import { withoutPoison } from './precert-tbs.js';
import type { DecodedLeaf } from './tile-leaf.js';

/** What is wrong with a precertificate. */
export interface PrecertProblem {
  readonly expected: string;
  readonly found: string;
}

/**
 * Checks the precertificate of an entry, which no hash of the tree covers: without its poison it must be the
 * TBSCertificate that was logged (RFC 6962 Section 3.2), and the first certificate of its chain must have signed it.
 * `issuer` is undefined when that certificate is not there, which is a matter of its own.
 */
export function precertProblem(leaf: DecodedLeaf, issuer: X509Certificate | undefined): PrecertProblem | undefined {
  const { timestampedEntry, precertificate } = leaf;
  if (timestampedEntry.entry.type !== 'precert' || precertificate === undefined) return undefined;
  const expected = 'a precertificate that is the TBSCertificate of the entry and the poison';
  try {
    const tbs = withoutPoison(precertificate);
    if (tbs === undefined) return { expected, found: 'a certificate without poison' };
    if (Buffer.compare(tbs, timestampedEntry.entry.tbs) !== 0) return { expected, found: 'another TBSCertificate' };
    const certificate = new X509Certificate(precertificate);
    if (Buffer.compare(certificate.raw, precertificate) !== 0) return { expected, found: 'bytes after its end' };
    if (issuer === undefined || issuedBy(certificate, issuer)) return undefined;
    return { expected: 'a precertificate signed by the first certificate of its chain', found: 'another signature' };
  } catch (error) {
    return { expected, found: messageOf(error) };
  }
}
