import type { CaRequest } from '../ca/csr.js';
import { kindOf } from '../ca/signature-algorithm.js';
import { describeName } from '../x509/name.js';
import { describeExtensions, type ExtensionDescription, extensionLines, keyFingerprint } from './ca-describe.js';

/** What a certification request says, in words; the field names are those of `mayfly ca show --json`. */
export interface RequestDescription {
  readonly subject: string;
  readonly key: string;
  /** SHA-256 of the key's DER SubjectPublicKeyInfo, in hexadecimal. */
  readonly keyFingerprint: string;
  readonly extensions: readonly ExtensionDescription[];
  /** Dotted OIDs. */
  readonly otherAttributes: readonly string[];
}

export function describeRequest({ subject, publicKey, extensions, otherAttributes }: CaRequest): RequestDescription {
  return {
    subject: describeName(subject),
    key: kindOf(publicKey),
    keyFingerprint: keyFingerprint(publicKey),
    extensions: describeExtensions(extensions),
    otherAttributes,
  };
}

/** A request for a terminal. */
export function requestLines(request: CaRequest): readonly string[] {
  const { subject, key, keyFingerprint: sha256, extensions, otherAttributes } = describeRequest(request);
  const attributes = otherAttributes.length === 0 ? [] : [`attributes   ${otherAttributes.join(', ')} (ignored)`];
  return [
    `subject      ${subject}`,
    `key          ${key}, SHA-256 ${sha256}`,
    'signature    verifies with that key',
    ...extensionLines(extensions).map((line) => `asks for     ${line}`),
    ...attributes,
  ];
}
