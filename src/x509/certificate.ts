import {
  children,
  contentOf,
  DerError,
  type DerNode,
  encodingOf,
  expectTag,
  readBitString,
  readDer,
  readOid,
  readTime,
  readUnsigned,
  tag,
} from './der.js';

/** One extension (RFC 5280 Section 4.1.2.9). */
export interface Extension {
  /** Dotted. */
  readonly oid: string;
  readonly critical: boolean;
  /** Content of extnValue, itself DER. */
  readonly value: Uint8Array;
  /** The whole Extension, DER. */
  readonly encoding: Uint8Array;
}

/** A version 3 certificate (RFC 5280 Section 4.1), taken apart; nothing of it is verified. */
export interface Certificate {
  readonly der: Uint8Array;
  /** DER TBSCertificate: the signed bytes. */
  readonly tbs: Uint8Array;
  /** Serial number, big-endian, without a sign octet. */
  readonly serial: Uint8Array;
  /** DER AlgorithmIdentifier; the one inside the TBS is checked to be equal. */
  readonly signatureAlgorithm: Uint8Array;
  readonly signatureAlgorithmOid: string;
  /** DER Name. */
  readonly issuer: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** DER Name. */
  readonly subject: Uint8Array;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly extensions: readonly Extension[];
  readonly signature: Uint8Array;
}

/** Parses a DER certificate; throws DerError. Duplicate extensions and versions before 3 are refused. */
export function parseCertificate(der: Uint8Array): Certificate {
  const top = expectTag(readDer(der), tag.sequence, 'the certificate');
  const [tbsNode, algorithm, signature, extra] = children(top);
  if (extra !== undefined) throw new DerError('the certificate has a fourth part', extra.start);
  const tbs = expectTag(tbsNode, tag.sequence, 'the TBSCertificate', top);
  const [version, serial, innerAlgorithm, issuer, validity, subject, spki, ...rest] = children(tbs);
  readVersion(version);
  const outer = encodingOf(expectTag(algorithm, tag.sequence, 'the signature algorithm', top));
  const inner = encodingOf(expectTag(innerAlgorithm, tag.sequence, 'the TBSCertificate signature algorithm', tbs));
  if (Buffer.compare(outer, inner) !== 0) {
    throw new DerError('the signature algorithms inside and outside the TBSCertificate differ', top.start);
  }
  const [notBefore, notAfter] = children(expectTag(validity, tag.sequence, 'the validity', tbs));
  return {
    der,
    tbs: encodingOf(tbs),
    serial: readUnsigned(serial, 'the serial number'),
    signatureAlgorithm: outer,
    signatureAlgorithmOid: readOid(children(readDer(outer))[0], 'the signature algorithm'),
    issuer: encodingOf(expectTag(issuer, tag.sequence, 'the issuer', tbs)),
    notBefore: readTime(notBefore, 'notBefore'),
    notAfter: readTime(notAfter, 'notAfter'),
    subject: encodingOf(expectTag(subject, tag.sequence, 'the subject', tbs)),
    spki: encodingOf(expectTag(spki, tag.sequence, 'the public key', tbs)),
    extensions: readExtensions(rest.at(-1), rest),
    signature: readBitString(signature, 'the signature'),
  };
}

function readVersion(node: DerNode | undefined): void {
  const version = node?.tag === tag.context(0) ? children(node)[0] : undefined;
  if (version === undefined || readUnsigned(version, 'the version')[0] !== 2) {
    throw new DerError('the certificate is not of version 3', node?.start ?? 0);
  }
}

/** `rest` may start with the two unique identifiers ([1], [2]) that RFC 5280 forbids CAs to use. */
function readExtensions(node: DerNode | undefined, rest: readonly DerNode[]): readonly Extension[] {
  const unexpected = rest.slice(0, -1)[0];
  if (unexpected !== undefined) throw new DerError('an unexpected part before the extensions', unexpected.start);
  if (node === undefined) return [];
  const [list] = children(expectTag(node, tag.context(3), 'the extensions'));
  const seen = new Set<string>();
  return children(expectTag(list, tag.sequence, 'the extensions', node)).map((item) => {
    const extension = readExtension(item);
    if (seen.has(extension.oid)) throw new DerError(`extension ${extension.oid} stands twice`, item.start);
    seen.add(extension.oid);
    return extension;
  });
}

function readExtension(node: DerNode): Extension {
  const parts = children(expectTag(node, tag.sequence, 'an extension'));
  const oid = readOid(parts[0], 'an extension');
  const isMarked = parts[1]?.tag === tag.boolean;
  const value = expectTag(parts[isMarked ? 2 : 1], tag.octetString, `the value of extension ${oid}`, node);
  if (parts.length !== (isMarked ? 3 : 2)) throw new DerError(`extension ${oid} has too many parts`, node.start);
  const critical = isMarked && readBoolean(parts[1], `criticality of extension ${oid}`);
  return { oid, critical, value: contentOf(value), encoding: encodingOf(node) };
}

function readBoolean(node: DerNode | undefined, what: string): boolean {
  const content = contentOf(expectTag(node, tag.boolean, what));
  const [value] = content;
  if (content.length !== 1 || (value !== 0 && value !== 0xff)) throw new DerError(`${what} is no DER boolean`, 0);
  return value === 0xff;
}

/** What a CA certificate says about its use (RFC 5280 Sections 4.2.1.1–4.2.1.12); undefined where it says nothing. */
export interface CertificateUse {
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | undefined } | undefined;
  /** Bit n of RFC 5280's KeyUsage is `1 << n`: 0 digitalSignature, 5 keyCertSign, 6 cRLSign. */
  readonly keyUsage: number | undefined;
  /** Dotted OIDs. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly subjectKeyId: Uint8Array | undefined;
  readonly authorityKeyId: Uint8Array | undefined;
}

export const keyUsageBit = { digitalSignature: 1 << 0, keyCertSign: 1 << 5, crlSign: 1 << 6 } as const;

/** Reads the use-related extensions; throws DerError when one is malformed. */
export function certificateUse(certificate: Pick<Certificate, 'extensions'>): CertificateUse {
  const read = <T>(oid: string, parse: (node: DerNode) => T): T | undefined => {
    const found = certificate.extensions.find((extension) => extension.oid === oid);
    return found === undefined ? undefined : parse(readDer(found.value));
  };
  return {
    basicConstraints: read('2.5.29.19', readBasicConstraints),
    keyUsage: read('2.5.29.15', readKeyUsage),
    extendedKeyUsage: read('2.5.29.37', (node) =>
      children(expectTag(node, tag.sequence, 'extendedKeyUsage')).map((oid) => readOid(oid, 'an extended key usage')),
    ),
    subjectKeyId: read('2.5.29.14', (node) => contentOf(expectTag(node, tag.octetString, 'subjectKeyIdentifier'))),
    authorityKeyId: read('2.5.29.35', (node) => {
      const keyId = children(expectTag(node, tag.sequence, 'authorityKeyIdentifier'))[0];
      return keyId?.tag === tag.contextPrimitive(0) ? contentOf(keyId) : undefined;
    }),
  };
}

function readBasicConstraints(node: DerNode): { ca: boolean; pathLength: number | undefined } {
  const parts = [...children(expectTag(node, tag.sequence, 'basicConstraints'))];
  const ca = parts[0]?.tag === tag.boolean ? readBoolean(parts.shift(), 'cA of basicConstraints') : false;
  const length = parts.length === 0 ? undefined : readUnsigned(parts[0], 'pathLenConstraint');
  if (length !== undefined && length.length > 2) throw new DerError('pathLenConstraint is too large', node.start);
  return { ca, pathLength: length?.reduce((sum, byte) => sum * 256 + byte, 0) };
}

function readKeyUsage(node: DerNode): number {
  const [, ...bytes] = contentOf(expectTag(node, tag.bitString, 'keyUsage'));
  let bits = 0;
  bytes.slice(0, 2).forEach((byte, index) => {
    for (let bit = 0; bit < 8; bit++) if ((byte & (0x80 >> bit)) !== 0) bits |= 1 << (index * 8 + bit);
  });
  return bits;
}
