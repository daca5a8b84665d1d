import { verify, X509Certificate } from 'node:crypto';
import { messageOf } from '../errors.js';
import { parseCertificate } from '../x509/certificate.js';
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
    if (issuer === undefined || isSignedBy(precertificate, issuer)) return undefined;
    return { expected: 'a precertificate signed by the first certificate of its chain', found: 'another signature' };
  } catch (error) {
    return { expected, found: messageOf(error) };
  }
}

/** Node's verify() is given the hash by name; null for Ed25519, which has none. */
const digests: Readonly<Record<string, string | null>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.3.101.112': null,
};

/** By our own parser where the algorithm allows: an X509Certificate costs more than the signature, and logs are long. */
function isSignedBy(precertificate: Uint8Array, issuer: X509Certificate): boolean {
  const { tbs, signatureAlgorithmOid, signature } = parseCertificate(precertificate);
  const digest = digests[signatureAlgorithmOid];
  if (digest === undefined) return new X509Certificate(precertificate).verify(issuer.publicKey);
  return verify(digest, tbs, issuer.publicKey, signature);
}
