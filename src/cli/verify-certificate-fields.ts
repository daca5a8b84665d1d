/** A client's reading of certificates it does not believe. All certificates are DER; what is malformed throws. */
import { createHash, X509Certificate } from 'node:crypto';
import type { Sct } from '../ct/log.js';
import { decodeSctList, type SignedPrecert } from '../ct/sct.js';
import { parseCertificate } from '../x509/certificate.js';
import { children, contentOf, type DerNode, expectTag, readDer, readOid, tag } from '../x509/der.js';
import { identityExtensions, sigstoreArc } from '../x509/extensions.js';
import type { San } from '../x509/san.js';
import { sctListOid, tbsWithout } from '../x509/tbs-without.js';

const sanOid = '2.5.29.17';
const issuerOid = `${sigstoreArc}.${identityExtensions.issuerV2.arc}`;
const usernameOid = `${sigstoreArc}.7`;

/** The SCTs in a certificate, not verified; none when it has no such extension. */
export function embeddedScts(leaf: Uint8Array): readonly Sct[] {
  const list = extensionValue(leaf, sctListOid);
  return list === undefined ? [] : decodeSctList(contentOf(expectTag(list, tag.octetString, 'the SCT list')));
}

/**
 * What a log signed before it gave the SCT in `leaf` (RFC 6962 Section 3.2): the TBSCertificate without the SCT list,
 * and the hash of the issuer's key.
 */
export function signedPrecertOf(leaf: Uint8Array, issuer: Uint8Array): SignedPrecert {
  const spki = new X509Certificate(issuer).publicKey.export({ type: 'spki', format: 'der' });
  return {
    tbs: tbsWithout(parseCertificate(leaf), sctListOid),
    issuerKeyHash: createHash('sha256').update(spki).digest(),
  };
}

const sanKinds: Readonly<Record<number, San['kind']>> = {
  [tag.context(0)]: 'username',
  [tag.contextPrimitive(1)]: 'email',
  [tag.contextPrimitive(6)]: 'uri',
};

/** The first subject alternative name of a certificate; undefined when it is of no kind that Sigstore knows. */
export function identityOf(leaf: Uint8Array): San | undefined {
  const names = extensionValue(leaf, sanOid);
  const name = names === undefined ? undefined : children(names)[0];
  const kind = name === undefined ? undefined : sanKinds[name.tag];
  if (name === undefined || kind === undefined) return undefined;
  const value = kind === 'username' ? usernameOf(name) : textOf(name);
  return value === undefined ? undefined : { kind, value };
}

/** otherName is SEQUENCE { type-id, [0] EXPLICIT value }; ours holds a UTF8String. */
function usernameOf(name: DerNode): string | undefined {
  const [typeId, wrapped] = children(name);
  if (wrapped === undefined || readOid(typeId, 'the type of the name') !== usernameOid) return undefined;
  return textOf(expectTag(children(wrapped)[0], tag.utf8String, 'the name'));
}

/** The OpenID Connect issuer that a certificate names (1.3.6.1.4.1.57264.1.8). */
export function tokenIssuerOf(leaf: Uint8Array): string | undefined {
  const value = extensionValue(leaf, issuerOid);
  return value === undefined ? undefined : textOf(expectTag(value, tag.utf8String, 'the issuer extension'));
}

function extensionValue(certificate: Uint8Array, oid: string): DerNode | undefined {
  const found = parseCertificate(certificate).extensions.find((extension) => extension.oid === oid);
  return found === undefined ? undefined : readDer(found.value);
}

function textOf(node: DerNode): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(contentOf(node));
}
