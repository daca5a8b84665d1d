import { AppError } from '../errors.js';
import { children, DerError, type DerNode, encodeOid, expectTag, readDer, tag } from './der.js';
import { poisonExtension } from './tbs.js';

const poisonOid = encodeOid('1.3.6.1.4.1.11129.2.4.3');
const sctListOid = encodeOid('1.3.6.1.4.1.11129.2.4.2');

/**
 * Proves, from the bytes alone, that a certificate is the one its precertificate promised: equal apart from the poison,
 * the SCT list and the signature (RFC 6962 Section 3.1). An SCT over anything else would be worth nothing.
 *
 * Both are DER. Throws AppError INTERNAL naming the part that differs.
 */
export function corresponds(precertificate: Uint8Array, certificate: Uint8Array): void {
  const pre = partsOf(precertificate, 'precertificate');
  const final = partsOf(certificate, 'certificate');
  for (const [index, name] of partNames.entries()) {
    if (!equal(pre.fields[index], final.fields[index])) throw differing(name);
  }
  const promised = withoutLast(pre, isPoison, 'the critical poison in the precertificate');
  const given = withoutLast(final, isSctList, 'the SCT list in the certificate');
  if (promised.length !== given.length) throw differing('number of extensions');
  for (const [index, extension] of promised.entries()) {
    if (!equal(extension, given[index])) throw differing(`extension ${index + 1}`);
  }
}

/** The TBSCertificate up to its extensions (RFC 5280 Section 4.1), and the algorithm that stands outside it. */
const partNames = [
  'signature algorithm outside the signed part',
  'version',
  'serial number',
  'signature algorithm',
  'issuer',
  'validity',
  'subject',
  'public key',
] as const;

interface Parts {
  /** As `partNames` lists them. */
  readonly fields: readonly DerNode[];
  readonly extensions: readonly DerNode[];
}

function partsOf(der: Uint8Array, what: string): Parts {
  try {
    const source = Buffer.from(der.buffer, der.byteOffset, der.byteLength);
    const [tbs, algorithm, signature, extra] = children(expectTag(readDer(source), tag.sequence, what));
    expectTag(signature, tag.bitString, 'the signature');
    const parts = children(expectTag(tbs, tag.sequence, 'the TBSCertificate'));
    const fields = [expectTag(algorithm, tag.sequence, 'the signature algorithm'), ...parts.slice(0, -1)];
    if (extra !== undefined || fields.length !== partNames.length) throw new DerError('a part too many or too few', 0);
    const [list, more] = children(expectTag(parts.at(-1), tag.context(3), 'the extensions'));
    if (more !== undefined) throw new DerError('a second list of extensions', more.start);
    return { fields, extensions: children(expectTag(list, tag.sequence, 'the extensions')) };
  } catch (cause) {
    if (!(cause instanceof DerError)) throw cause;
    throw new AppError('INTERNAL', `the ${what} that was built cannot be read back: ${cause.message}`, { cause });
  }
}

function isPoison(extension: DerNode): boolean {
  return encodes(extension, poisonExtension, 0, poisonExtension.length);
}

/** SEQUENCE { OID, OCTET STRING }: not critical, since a BOOLEAN would stand between the two. */
function isSctList(extension: DerNode): boolean {
  const value = extension.source[extension.contentStart + sctListOid.length];
  return hasOid(extension, sctListOid) && value === tag.octetString;
}

/** Byte by byte: the OIDs of these extensions differ in one of their first bytes from all others, and a view costs more. */
function hasOid({ source, contentStart }: DerNode, oid: Uint8Array): boolean {
  for (let i = 0; i < oid.length; i++) if (source[contentStart + i] !== oid[i]) return false;
  return true;
}

/** The extensions but the special one, which must come last; neither special one may stand elsewhere. */
function withoutLast({ extensions }: Parts, isSpecial: (last: DerNode) => boolean, what: string): readonly DerNode[] {
  const last = extensions.at(-1);
  if (last === undefined || !isSpecial(last)) throw new AppError('INTERNAL', `expected ${what} as its last extension`);
  const rest = extensions.slice(0, -1);
  if (rest.some((extension) => hasOid(extension, poisonOid) || hasOid(extension, sctListOid))) {
    throw new AppError('INTERNAL', `found a second special extension beside ${what}`);
  }
  return rest;
}

function differing(part: string): AppError {
  return new AppError('INTERNAL', `the certificate that was built differs from its precertificate in its ${part}`);
}

function equal(a: DerNode | undefined, b: DerNode | undefined): boolean {
  return a !== undefined && b !== undefined && encodes(a, b.source, b.start, b.end);
}

/** Whether `node` is encoded as the bytes of `source` from `start` up to and without `end`; its own source is a Buffer. */
function encodes(node: DerNode, source: Uint8Array, start: number, end: number): boolean {
  return (node.source as Buffer).compare(source, start, end, node.start, node.end) === 0;
}
