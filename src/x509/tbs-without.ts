import type { Certificate } from './certificate.js';
import { children, encodeElement, encodeSequence, encodingOf, readDer, tag } from './der.js';

/** The poison of a precertificate (RFC 6962 Section 3.1). */
export const poisonOid = '1.3.6.1.4.1.11129.2.4.3';
/** The SCT list of a certificate (RFC 6962 Section 3.3). */
export const sctListOid = '1.3.6.1.4.1.11129.2.4.2';

/** The DER TBSCertificate of a certificate without one of its extensions, everything else byte for byte. */
export function tbsWithout({ tbs, extensions }: Certificate, oid: string): Uint8Array {
  const kept = extensions.filter((extension) => extension.oid !== oid).map(({ encoding }) => encoding);
  // The extensions are the last field of a TBSCertificate; one without any has no such field (RFC 5280 Section 4.1).
  const fields = children(readDer(tbs));
  const before = (extensions.length === 0 ? fields : fields.slice(0, -1)).map(encodingOf);
  const list = kept.length === 0 ? [] : [encodeElement(tag.context(3), encodeSequence(...kept))];
  return encodeSequence(...before, ...list);
}
