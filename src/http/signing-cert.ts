import type { CertificateAuthority } from '../ca/authority.js';
import { AppError } from '../errors.js';
import type { Issued, IssueRequest } from '../issue.js';
import type { KeyRequest } from '../proof.js';
import { encodePem } from '../x509/pem.js';
import { fields, type JsonObject } from './json-body.js';

/**
 * POST /api/v2/signingCert: the JSON form of dev.sigstore.fulcio.v2.CreateSigningCertificateRequest. A token in the
 * body wins over the Authorization header, as in Fulcio.
 */
export function readV2(body: JsonObject, authorization: string | undefined): IssueRequest {
  const top = fields(body, '');
  const credentials = fields(top.message('credentials') ?? {}, 'credentials');
  const token = credentials.text('oidcIdentityToken') || bearerToken(authorization);
  const keyRequest = top.message('publicKeyRequest');
  const csr = top.bytes('certificateSigningRequest');
  if (keyRequest !== undefined && csr.length > 0) {
    throw new AppError('BODY_MALFORMED', 'give either publicKeyRequest or certificateSigningRequest; found both');
  }
  if (csr.length > 0) return { token, key: { kind: 'csr', csr } };
  const request = fields(keyRequest ?? {}, 'publicKeyRequest');
  const publicKey = fields(request.message('publicKey') ?? {}, 'publicKeyRequest.publicKey');
  publicKey.enumeration('algorithm');
  return {
    token,
    key: { kind: 'publicKey', key: publicKey.text('content'), proof: request.bytes('proofOfPossession') },
  };
}

/**
 * POST /api/v1/signingCert, the form of cosign 2 and gitsign: the token comes in the Authorization header only and
 * `publicKey.content` is base64 of PEM or of DER.
 */
export function readV1(body: JsonObject, authorization: string | undefined): IssueRequest {
  const top = fields(body, '');
  const publicKey = fields(top.message('publicKey') ?? {}, 'publicKey');
  publicKey.enumeration('algorithm');
  const content = publicKey.bytes('content');
  const proof = top.bytes('signedEmailAddress');
  const csr = top.bytes('certificateSigningRequest');
  const key: KeyRequest = csr.length > 0 ? { kind: 'csr', csr } : { kind: 'publicKey', key: content, proof };
  return { token: bearerToken(authorization), key };
}

/** The token of an Authorization header, with or without the word Bearer (RFC 6750 Section 2.1). */
export function bearerToken(authorization: string | undefined): string {
  return (authorization ?? '').replace(/^\s*bearer\s+/i, '').trim();
}

/** dev.sigstore.fulcio.v2.SigningCertificate in its JSON form. */
export function v2Answer(issued: Issued): JsonObject {
  const chain = { certificates: pemChain(issued) };
  return issued.scts === undefined
    ? { signedCertificateDetachedSct: { chain, signedCertificateTimestamp: '' } }
    : { signedCertificateEmbeddedSct: { chain } };
}

/**
 * The text of `v2Answer`, byte for byte. Put together by hand: JSON.stringify looks at each character of each certificate, and
 * only the leaf is new.
 */
export function v2Json({ certificate, ca, scts }: Issued): string {
  const leaf = `"${encodePem('CERTIFICATE', certificate, '\\n')}"`;
  const chain = `{"certificates":[${leaf}${chainJson(ca)}]}`;
  return scts === undefined
    ? `{"signedCertificateDetachedSct":{"chain":${chain},"signedCertificateTimestamp":""}}`
    : `{"signedCertificateEmbeddedSct":{"chain":${chain}}}`;
}

const chains = new WeakMap<CertificateAuthority, string>();

/** The certificates above the leaf, each with a comma before it. */
function chainJson(ca: CertificateAuthority): string {
  const known = chains.get(ca);
  if (known !== undefined) return known;
  const json = ca.chainPem.map((pem) => `,${JSON.stringify(pem)}`).join('');
  chains.set(ca, json);
  return json;
}

/** The PEM chain of the v1 answer, leaf first. */
export function v1Answer(issued: Issued): string {
  return pemChain(issued).join('');
}

/** Leaf to root, one PEM certificate each. */
export function pemChain(issued: Issued): string[] {
  return [encodePem('CERTIFICATE', issued.certificate), ...issued.ca.chainPem];
}
