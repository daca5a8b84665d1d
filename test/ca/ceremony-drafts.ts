import { createPublicKey, generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto';
import { signatureAlgorithmOf } from '../../src/ca/signature-algorithm.js';
import { encodeElement, encodeOid, encodeSequence, encodeTime, tag } from '../../src/x509/der.js';
import { encodeName } from '../../src/x509/name.js';
import { encodePem } from '../../src/x509/pem.js';
import { encodeCertificate, encodeExtension } from '../../src/x509/tbs.js';

export const now = Date.parse('2026-06-01T12:00:00Z');
export const newKey = (namedCurve = 'P-256'): KeyObject => generateKeyPairSync('ec', { namedCurve }).privateKey;
export const nameOf = (commonName: string): Uint8Array => encodeName({ organization: 'lab', commonName });

/** A certificate to be, with every part that a profile speaks of open to change; null leaves a part out. */
export interface Draft {
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  readonly key: KeyObject;
  readonly signedBy: KeyObject;
  readonly serial?: Uint8Array;
  readonly notBefore?: string;
  readonly notAfter?: string;
  readonly basicConstraints?: {
    readonly ca?: boolean;
    readonly pathLength?: number;
    readonly critical?: boolean;
  } | null;
  /** Content of the bit string after its count of unused bits: 0x06 is keyCertSign and cRLSign. */
  readonly keyUsage?: { readonly bits?: number; readonly critical?: boolean } | null;
  readonly purposes?: { readonly oids: readonly string[]; readonly critical?: boolean } | null;
  readonly subjectKeyId?: Uint8Array | null;
  readonly authorityKeyId?: Uint8Array | null;
  readonly more?: readonly Uint8Array[];
  readonly signature?: { readonly hash: string; readonly oid: string };
}

/** Any 20 bytes that depend on the key. */
export const keyIdOf = (key: KeyObject): Uint8Array =>
  hash('sha1', createPublicKey(key).export({ type: 'spki', format: 'der' }), 'buffer');

/** PEM of the certificate a draft describes; where it says nothing, that of a root. */
export function certify(draft: Draft): string {
  const own = signatureAlgorithmOf(draft.signedBy);
  const algorithm =
    draft.signature === undefined
      ? (own?.identifier ?? new Uint8Array())
      : encodeSequence(encodeOid(draft.signature.oid));
  const tbs = encodeSequence(
    Uint8Array.of(0xa0, 3, 2, 1, 2),
    encodeElement(tag.integer, draft.serial ?? Uint8Array.of(7, 1, 2, 3, 4, 5, 6, 7, 8)),
    algorithm,
    draft.issuer,
    encodeSequence(
      encodeTime(new Date(draft.notBefore ?? '2026-01-01T00:00:00Z')),
      encodeTime(new Date(draft.notAfter ?? '2030-01-01T00:00:00Z')),
    ),
    draft.subject,
    createPublicKey(draft.key).export({ type: 'spki', format: 'der' }),
    encodeElement(tag.context(3), encodeSequence(...extensionsOf(draft))),
  );
  // Ed25519 has no hash of its own, and null says so.
  const usual = own === undefined ? 'sha256' : own.hash;
  const signature = sign(draft.signature?.hash ?? usual, tbs, draft.signedBy);
  return encodePem('CERTIFICATE', encodeCertificate(tbs, algorithm, signature));
}

function extensionsOf(draft: Draft): readonly Uint8Array[] {
  const { basicConstraints = {}, keyUsage = {}, purposes = null, more = [] } = draft;
  const { subjectKeyId = keyIdOf(draft.key), authorityKeyId = keyIdOf(draft.signedBy) } = draft;
  const present: Uint8Array[] = [];
  if (basicConstraints !== null) {
    const { ca = true, pathLength, critical = true } = basicConstraints;
    const isCa = ca ? [Uint8Array.of(1, 1, 0xff)] : [];
    const length = pathLength === undefined ? [] : [Uint8Array.of(2, 1, pathLength)];
    present.push(encodeExtension('2.5.29.19', critical, encodeSequence(...isCa, ...length)));
  }
  if (keyUsage !== null) {
    const { bits = 0x06, critical = true } = keyUsage;
    present.push(encodeExtension('2.5.29.15', critical, Uint8Array.of(3, 2, 0, bits)));
  }
  if (purposes !== null) {
    const { oids, critical = false } = purposes;
    present.push(encodeExtension('2.5.29.37', critical, encodeSequence(...oids.map(encodeOid))));
  }
  if (subjectKeyId !== null) {
    present.push(encodeExtension('2.5.29.14', false, encodeElement(tag.octetString, subjectKeyId)));
  }
  if (authorityKeyId !== null) {
    const keyId = encodeElement(tag.contextPrimitive(0), authorityKeyId);
    present.push(encodeExtension('2.5.29.35', false, encodeSequence(keyId)));
  }
  return [...present, ...more];
}
