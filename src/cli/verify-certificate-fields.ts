/** A client's reading of certificates it does not believe. All certificates are DER; what is malformed throws. */
import { createHash, X509Certificate } from 'node:crypto';
import type { Sct } from '../ct/log.js';
import { decodeSctList, type SignedPrecert } from '../ct/sct.js';
import {
  children,
  contentOf,
  type DerNode,
  encodeElement,
  encodeSequence,
  encodingOf,
  expectTag,
  readDer,
  readOid,
  tag,
} from '../x509/der.js';
import { identityExtensions, sigstoreArc } from '../x509/extensions.js';
import type { San } from '../x509/san.js';

const sctListOid = '1.3.6.1.4.1.11129.2.4.2';
const sanOid = '2.5.29.17';
const usernameOid = `${sigstoreArc}.7`;

interface Extension {
  readonly oid: string;
  readonly node: DerNode;
  /** DER of the extension's value. */
  readonly value: Uint8Array;
}

/** The SCTs in a certificate, not verified; none when it has no such extension. */
export function embeddedScts(leaf: Uint8Array): readonly Sct[] {
  const list = extensionsOf(leaf).find(({ oid }) => oid === sctListOid);
  if (list === undefined) return [];
  return decodeSctList(contentOf(expectTag(readDer(list.value), tag.octetString, 'the SCT list')));
}

/**
 * What a log signed before it gave the SCT in `leaf` (RFC 6962 Section 3.2): the TBSCertificate without the SCT list,
 * and the hash of the issuer's key.
 */
export function signedPrecertOf(leaf: Uint8Array, issuer: Uint8Array): SignedPrecert {
  const fields = tbsFields(leaf);
  const kept = extensionsOf(leaf).filter(({ oid }) => oid !== sctListOid);
  const extensions = encodeSequence(...kept.map(({ node }) => encodingOf(node)));
  const spki = new X509Certificate(issuer).publicKey.export({ type: 'spki', format: 'der' });
  return {
    tbs: encodeSequence(...fields.slice(0, -1).map(encodingOf), encodeElement(tag.context(3), extensions)),
    issuerKeyHash: createHash('sha256').update(spki).digest(),
  };
}

const sanKinds: Readonly<Record<number, San['kind']>> = {
  [tag.context(0)]: 'username',
  [tag.contextPrimitive(1)]: 'email',
  [tag.contextPrimitive(6)]: 'uri',
};

/** The one subject alternative name of a certificate; undefined when it is of no kind that Sigstore knows. */
export function identityOf(leaf: Uint8Array): San | undefined {
  const extension = extensionsOf(leaf).find(({ oid }) => oid === sanOid);
  const [name] = extension === undefined ? [] : children(readDer(extension.value));
  const kind = name === undefined ? undefined : sanKinds[name.tag];
  if (name === undefined || kind === undefined) return undefined;
  const value = kind === 'username' ? usernameOf(name) : textOf(contentOf(name));
  return value === undefined ? undefined : { kind, value };
}

/** otherName is SEQUENCE { type-id, [0] EXPLICIT value }; ours holds a UTF8String. */
function usernameOf(name: DerNode): string | undefined {
  const [typeId, wrapped] = children(name);
  if (wrapped === undefined || readOid(typeId, 'the type of the name') !== usernameOid) return undefined;
  const [value] = children(wrapped);
  return textOf(contentOf(expectTag(value, tag.utf8String, 'the name')));
}

/** The OpenID Connect issuer that a certificate names (1.3.6.1.4.1.57264.1.8). */
export function tokenIssuerOf(leaf: Uint8Array): string | undefined {
  const oid = `${sigstoreArc}.${identityExtensions.issuerV2.arc}`;
  const found = extensionsOf(leaf).find((extension) => extension.oid === oid);
  if (found === undefined) return undefined;
  return textOf(contentOf(expectTag(readDer(found.value), tag.utf8String, 'the issuer extension')));
}

function extensionsOf(certificate: Uint8Array): readonly Extension[] {
  const last = tbsFields(certificate).at(-1);
  if (last?.tag !== tag.context(3)) return [];
  const [list] = children(last);
  return children(expectTag(list, tag.sequence, 'the extensions')).map((node) => {
    const parts = children(node);
    const value = expectTag(parts.at(-1), tag.octetString, 'the value of an extension');
    return { oid: readOid(parts[0], 'the type of an extension'), node, value: contentOf(value) };
  });
}

function tbsFields(certificate: Uint8Array): readonly DerNode[] {
  const [tbs] = children(expectTag(readDer(certificate), tag.sequence, 'the certificate'));
  return children(expectTag(tbs, tag.sequence, 'the TBSCertificate'));
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}
