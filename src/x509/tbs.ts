import { AppError } from '../errors.js';
import { encodeBitString, encodeElement, encodeOid, encodeSequence, encodeTime, tag } from './der.js';
import { DerWriter } from './der-writer.js';
import { type ExtensionValues, extensionNames, identityExtensions, sigstoreArc } from './extensions.js';
import type { San } from './san.js';
import { keyIdOf } from './spki.js';

/** Everything that a leaf's TBSCertificate says (RFC 5280 Section 4.1). */
export interface LeafFields {
  /** Content octets of the serial number's INTEGER, from `newSerial`. */
  readonly serial: Uint8Array;
  /** DER AlgorithmIdentifier of the CA's signatures. */
  readonly signatureAlgorithm: Uint8Array;
  /** DER Name of the issuing CA, byte for byte. */
  readonly issuerName: Uint8Array;
  readonly authorityKeyId: Uint8Array;
  /** Whole seconds; a fraction is dropped. */
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Left out: SHA-1 of the SPKI's bit string. */
  readonly subjectKeyId?: Uint8Array;
  readonly san: San;
  readonly extensions: ExtensionValues;
}

const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);
const critical = bytes(0x01, 0x01, 0xff);
const version3 = bytes(0xa0, 0x03, 0x02, 0x01, 0x02);
const emptyName = bytes(0x30, 0x00);
const otherNameOid = encodeOid(`${sigstoreArc}.7`);

/** DER Extension (RFC 5280 Section 4.1.2.9) from its dotted OID and the DER of its value. */
export function encodeExtension(oid: string, isCritical: boolean, value: Uint8Array): Uint8Array {
  const octets = encodeElement(tag.octetString, value);
  return isCritical ? encodeSequence(encodeOid(oid), critical, octets) : encodeSequence(encodeOid(oid), octets);
}

/** Critical keyUsage digitalSignature, then extendedKeyUsage codeSigning: the same bytes in every leaf. */
const usage = Buffer.concat([
  encodeExtension('2.5.29.15', true, bytes(0x03, 0x02, 0x07, 0x80)),
  encodeExtension('2.5.29.37', false, encodeSequence(encodeOid('1.3.6.1.5.5.7.3.3'))),
]);
const subjectKeyIdOid = encodeOid('2.5.29.14');
const authorityKeyIdOid = encodeOid('2.5.29.35');
const sctListOid = encodeOid('1.3.6.1.4.1.11129.2.4.2');
const sanOidCritical = Buffer.concat([encodeOid('2.5.29.17'), critical]);

/** Last extension first, as the writer works from the end. */
const identityRows = extensionNames
  .map((name) => ({
    name,
    isUtf8: identityExtensions[name].encoding === 'utf8',
    oid: encodeOid(`${sigstoreArc}.${identityExtensions[name].arc}`),
  }))
  .reverse();

/** The critical extension that makes a certificate a precertificate (RFC 6962 Section 3.1). */
export const poisonExtension: Uint8Array = encodeExtension('1.3.6.1.4.1.11129.2.4.3', true, bytes(0x05, 0x00));

/** The embedded SCT list (RFC 6962 Section 3.3) from its TLS-encoded SignedCertificateTimestampList. */
export function sctListExtension(list: Uint8Array): Uint8Array {
  return encodeSequence(sctListOid, encodeElement(tag.octetString, encodeElement(tag.octetString, list)));
}

/**
 * A TBSCertificate but for its last extension: what precertificate, PreCert entry and certificate have in common, encoded
 * once.
 */
export interface TbsParts {
  /** DER of the fields from version to subjectPublicKeyInfo. */
  readonly fields: Uint8Array;
  /** DER of the extensions, one after the other. */
  readonly extensions: Uint8Array;
}

/**
 * The common parts of a leaf in Fulcio's profile. Throws AppError CLAIM_INVALID for a name or value that the certificate
 * cannot hold.
 */
export function encodeTbsParts(leaf: LeafFields): TbsParts {
  return { fields: encodeFields(leaf), extensions: encodeExtensions(leaf) };
}

/** The DER TBSCertificate from its parts, with `last` (poison or SCT list) as its last extension. */
export function assembleTbs({ fields, extensions }: TbsParts, last?: Uint8Array): Uint8Array {
  const writer = new DerWriter(fields.length + extensions.length + (last?.length ?? 0) + 16);
  if (last !== undefined) writer.raw(last);
  writer.raw(extensions);
  writer.close(tag.sequence, 0);
  writer.close(tag.context(3), 0);
  writer.raw(fields);
  writer.close(tag.sequence, 0);
  return writer.finish();
}

/** `assembleTbs` of `encodeTbsParts`. */
export function encodeTbs(leaf: LeafFields, last?: Uint8Array): Uint8Array {
  return assembleTbs(encodeTbsParts(leaf), last);
}

function encodeExtensions(leaf: LeafFields): Uint8Array {
  const writer = new DerWriter(1536);
  for (const { name, isUtf8, oid } of identityRows) {
    const value = leaf.extensions[name];
    if (value !== undefined && value !== '') writeIdentityExtension(writer, oid, isUtf8, wellFormed(value, name));
  }
  writeSan(writer, leaf.san);
  writeKeyId(writer, authorityKeyIdOid, () => {
    const mark = writer.mark;
    writer.raw(leaf.authorityKeyId);
    writer.close(tag.contextPrimitive(0), mark);
    writer.close(tag.sequence, mark);
  });
  writeKeyId(writer, subjectKeyIdOid, () => {
    const mark = writer.mark;
    writer.raw(leaf.subjectKeyId ?? keyIdOf(leaf.spki));
    writer.close(tag.octetString, mark);
  });
  writer.raw(usage);
  return writer.finish();
}

function encodeFields(leaf: LeafFields): Uint8Array {
  const writer = new DerWriter(512);
  writer.raw(leaf.spki);
  writer.raw(emptyName);
  const validity = writer.mark;
  writer.raw(encodeTime(leaf.notAfter));
  writer.raw(encodeTime(leaf.notBefore));
  writer.close(tag.sequence, validity);
  writer.raw(leaf.issuerName);
  writer.raw(leaf.signatureAlgorithm);
  const serial = writer.mark;
  writer.raw(leaf.serial);
  writer.close(tag.integer, serial);
  writer.raw(version3);
  return writer.finish();
}

function writeIdentityExtension(writer: DerWriter, oid: Uint8Array, isUtf8: boolean, value: string): void {
  const mark = writer.mark;
  writer.text(value);
  if (isUtf8) writer.close(tag.utf8String, mark);
  writer.close(tag.octetString, mark);
  writer.raw(oid);
  writer.close(tag.sequence, mark);
}

function writeKeyId(writer: DerWriter, oid: Uint8Array, writeValue: () => void): void {
  const mark = writer.mark;
  writeValue();
  writer.close(tag.octetString, mark);
  writer.raw(oid);
  writer.close(tag.sequence, mark);
}

/** GeneralName tags of RFC 5280 Section 4.2.1.6, and what each form may hold. */
const sanForms = {
  email: { tagByte: tag.contextPrimitive(1), allowed: /^[\x21-\x7e]+$/, holds: 'an e-mail address in ASCII' },
  uri: { tagByte: tag.contextPrimitive(6), allowed: /^[\x21-\x7e]+$/, holds: 'a URI in ASCII, percent-encoded' },
  username: { tagByte: tag.context(0), allowed: /^[^\p{Cc}\p{Cs}]+$/u, holds: 'text without control characters' },
} as const;

function writeSan(writer: DerWriter, san: San): void {
  const { tagByte, allowed, holds } = sanForms[san.kind];
  if (!allowed.test(san.value)) {
    const found = JSON.stringify(san.value.slice(0, 128));
    throw new AppError('CLAIM_INVALID', `the certificate's name would be the ${san.kind} ${found}; expected ${holds}`);
  }
  const mark = writer.mark;
  writer.text(san.value);
  if (san.kind === 'username') {
    writer.close(tag.utf8String, mark);
    writer.close(tag.context(0), mark);
    writer.raw(otherNameOid);
  }
  writer.close(tagByte, mark);
  writer.close(tag.sequence, mark);
  writer.close(tag.octetString, mark);
  writer.raw(sanOidCritical);
  writer.close(tag.sequence, mark);
}

/** UTF-8 has no form for half a surrogate pair; writing it would silently change the value. */
function wellFormed(value: string, name: string): string {
  if (/\p{Cs}/u.test(value)) {
    throw new AppError('CLAIM_INVALID', `the value of extension ${name} holds half a surrogate pair; expected Unicode`);
  }
  return value;
}

/** The DER Certificate from its parts; `signature` is as it stands in a certificate. */
export function encodeCertificate(tbs: Uint8Array, signatureAlgorithm: Uint8Array, signature: Uint8Array): Uint8Array {
  return encodeSequence(tbs, signatureAlgorithm, encodeBitString(signature));
}

/**
 * A serial number of 159 random bits: positive and at most 20 octets (RFC 5280 Section 4.1.2.2), as the minimal content
 * octets of an INTEGER. `random` returns that many unpredictable bytes.
 */
export function newSerial(random: (size: number) => Uint8Array): Uint8Array {
  for (;;) {
    const serial = Uint8Array.from(random(20));
    serial[0] = (serial[0] ?? 0) & 0x7f;
    const first = serial.findIndex((byte) => byte !== 0);
    if (first < 0) continue;
    return serial.subarray((serial[first] ?? 0) >= 0x80 ? first - 1 : first);
  }
}
