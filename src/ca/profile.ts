import { encodeElement, encodeOid, encodeSequence, tag } from '../x509/der.js';
import { encodeExtension } from '../x509/tbs.js';

/** What a certificate of a ceremony is for; its profile follows from that. */
export type CaRole = 'root' | 'issuing' | 'timestamping';

/** Dotted OIDs of the extensions that profiles are made of (RFC 5280 Section 4.2.1). */
export const extensionOid = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;

/** Dotted OIDs of extended key usages (RFC 5280 Section 4.2.1.12). */
export const purposeOid = {
  any: '2.5.29.37.0',
  codeSigning: '1.3.6.1.5.5.7.3.3',
  timeStamping: '1.3.6.1.5.5.7.3.8',
} as const;

const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);
const critical = true;

const certSignAndCrlSign = encodeExtension(extensionOid.keyUsage, critical, bytes(0x03, 0x02, 0x01, 0x06));
const digitalSignature = encodeExtension(extensionOid.keyUsage, critical, bytes(0x03, 0x02, 0x07, 0x80));

const usage = (oid: string, isCritical: boolean): Uint8Array =>
  encodeExtension(extensionOid.extendedKeyUsage, isCritical, encodeSequence(encodeOid(oid)));

/** basicConstraints CA:TRUE; `pathLength` is the number of CA certificates allowed below, from 0 to 127. */
function caConstraints(pathLength?: number): Uint8Array {
  const limit = pathLength === undefined ? [] : [encodeElement(tag.integer, bytes(pathLength))];
  return encodeExtension(extensionOid.basicConstraints, critical, encodeSequence(bytes(0x01, 0x01, 0xff), ...limit));
}

/**
 * The extensions that a role's profile adds to the key identifiers, DER:
 *
 * - root: CA:TRUE, keyCertSign and cRLSign; no extended key usage.
 * - issuing: the same, with pathlen (0 unless told) and codeSigning.
 * - timestamping: digitalSignature, and timeStamping critical and alone (RFC 3161 Section 2.3); no CA.
 */
export function profileExtensions(role: CaRole, pathLength = 0): readonly Uint8Array[] {
  if (role === 'root') return [caConstraints(), certSignAndCrlSign];
  if (role === 'issuing')
    return [caConstraints(pathLength), certSignAndCrlSign, usage(purposeOid.codeSigning, !critical)];
  return [digitalSignature, usage(purposeOid.timeStamping, critical)];
}
