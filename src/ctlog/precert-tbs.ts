import { parseCertificate } from '../x509/certificate.js';
import { DerError } from '../x509/der.js';
import { poisonOid, tbsWithout } from '../x509/tbs-without.js';

/** extnValue of the poison: NULL (RFC 6962 Section 3.1). */
const poisonValue = Buffer.from('0500', 'hex');

/**
 * The DER TBSCertificate of a precertificate without its poison (PreCert.tbs_certificate, RFC 6962 Section 3.2), or
 * undefined when the certificate carries no poison. Throws DerError for what is no certificate, and when the poison is
 * not critical or has another value than NULL.
 */
export function withoutPoison(der: Uint8Array): Uint8Array | undefined {
  const certificate = parseCertificate(der);
  const poison = certificate.extensions.find(({ oid }) => oid === poisonOid);
  if (poison === undefined) return undefined;
  if (!poison.critical || Buffer.compare(poison.value, poisonValue) !== 0) {
    throw new DerError('a poison extension that is not critical with the value NULL', 0);
  }
  return tbsWithout(certificate, poisonOid);
}
