import { type Certificate, certificateUse, type Extension } from '../x509/certificate.js';
import { children, contentOf, type DerNode, expectTag, readDer, readOid, tag } from '../x509/der.js';
import { identityExtensions, sigstoreArc } from '../x509/extensions.js';
import { describeName } from '../x509/name.js';

/** One extension in words. */
export interface ExtensionText {
  readonly oid: string;
  readonly name: string;
  readonly critical: boolean;
  readonly value: string;
  /** `bytes`: the value is hexadecimal, since it could not be read as what it should be. */
  readonly form: 'text' | 'bytes';
  /** An extension that another one has taken the place of. */
  readonly deprecated?: boolean;
}

/** One subject alternative name (RFC 5280 Section 4.2.1.6). */
export interface SubjectName {
  readonly type: string;
  readonly value: string;
}

const sanOid = '2.5.29.17';

interface Reading {
  readonly name: string;
  /** Throws when the value is not what the extension holds. */
  readonly read: (extension: Extension) => string;
  readonly deprecated?: boolean;
}

const utf8 = (bytes: Uint8Array): string => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const use = (extension: Extension) => certificateUse({ extensions: [extension] });

const keyUsages = [
  'Digital Signature',
  'Content Commitment',
  'Key Encipherment',
  'Data Encipherment',
  'Key Agreement',
  'Certificate Sign',
  'CRL Sign',
  'Encipher Only',
  'Decipher Only',
];

const purposes: Readonly<Record<string, string>> = {
  '1.3.6.1.5.5.7.3.3': 'Code Signing',
  '1.3.6.1.5.5.7.3.8': 'Time Stamping',
};

/** What is in a code-signing certificate beside the identity extensions. */
const standardReadings: Readonly<Record<string, Reading>> = {
  [sanOid]: {
    name: 'Subject Alternative Name',
    read: ({ value }) =>
      namesIn(value)
        .map(({ type, value: text }) => `${type}: ${text}`)
        .join('\n'),
  },
  '2.5.29.14': { name: 'Subject Key Identifier', read: (e) => hex(use(e).subjectKeyId ?? new Uint8Array()) },
  '2.5.29.35': { name: 'Authority Key Identifier', read: (e) => hex(use(e).authorityKeyId ?? new Uint8Array()) },
  '2.5.29.15': { name: 'Key Usage', read: (e) => bitNames(use(e).keyUsage ?? 0) },
  '2.5.29.37': {
    name: 'Extended Key Usage',
    read: (e) => (use(e).extendedKeyUsage ?? []).map((oid) => purposes[oid] ?? oid).join(', '),
  },
  '2.5.29.19': { name: 'Basic Constraints', read: (e) => (use(e).basicConstraints?.ca ? 'a CA' : 'not a CA') },
  '1.3.6.1.4.1.11129.2.4.3': { name: 'Precertificate Poison', read: () => 'not usable as a certificate' },
  '1.3.6.1.4.1.11129.2.4.2': {
    name: 'Signed Certificate Timestamps',
    read: ({ value }) => hex(contentOf(expectTag(readDer(value), tag.octetString, 'the SCT list'))),
  },
};

/** By dotted OID: Fulcio's extensions under the names its documentation gives them. */
const readings: ReadonlyMap<string, Reading> = new Map([
  ...Object.entries(standardReadings),
  ...Object.values(identityExtensions).map(({ arc, encoding, json }): [string, Reading] => [
    `${sigstoreArc}.${arc}`,
    {
      name: nameFrom(json),
      read: ({ value }) => (encoding === 'raw' ? utf8(value) : utf8Of(readDer(value))),
      deprecated: encoding === 'raw',
    },
  ]),
]);

/** `SourceRepositoryURI` in words. The subject is the token's: that of the certificate is empty. */
function nameFrom(json: string): string {
  if (json === 'Subject') return 'Token Subject';
  return json
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .replace('Issuer V1', 'Issuer')
    .replace(/^Github /, 'GitHub ');
}

/** Never throws: what cannot be read is shown as bytes. */
export function describeExtension(extension: Extension): ExtensionText {
  const { oid, critical, value } = extension;
  const reading = readings.get(oid);
  const base = { oid, critical, name: reading?.name ?? 'Unknown extension' };
  const bytes = { ...base, value: hex(value), form: 'bytes' } as const;
  if (reading === undefined) return bytes;
  const deprecated = reading.deprecated === true ? { deprecated: true } : {};
  try {
    return { ...base, value: reading.read(extension), form: 'text', ...deprecated };
  } catch {
    return { ...bytes, ...deprecated };
  }
}

/** The text of an identity extension, or its bytes in hexadecimal where they are none. */
export function extensionText(extension: Extension): string {
  return describeExtension(extension).value;
}

/** The subject alternative names; none when the extension is missing or malformed. */
export function subjectNames({ extensions }: Pick<Certificate, 'extensions'>): readonly SubjectName[] {
  const found = extensions.find(({ oid }) => oid === sanOid);
  try {
    return found === undefined ? [] : namesIn(found.value);
  } catch {
    return [];
  }
}

const nameTypes: Readonly<Record<number, { readonly type: string; readonly read: (node: DerNode) => string }>> = {
  [tag.context(0)]: { type: 'username', read: otherName },
  [tag.contextPrimitive(1)]: { type: 'email', read: (node) => utf8(contentOf(node)) },
  [tag.contextPrimitive(2)]: { type: 'DNS name', read: (node) => utf8(contentOf(node)) },
  [tag.context(4)]: { type: 'directory name', read: (node) => describeName(contentOf(node)) },
  [tag.contextPrimitive(6)]: { type: 'URI', read: (node) => utf8(contentOf(node)) },
};

function namesIn(value: Uint8Array): SubjectName[] {
  return children(expectTag(readDer(value), tag.sequence, 'the names'), 64).map((node) => {
    const known = nameTypes[node.tag];
    if (known === undefined) return { type: 'other name', value: hex(contentOf(node)) };
    try {
      return { type: known.type, value: known.read(node) };
    } catch {
      return { type: `${known.type} (bytes)`, value: hex(contentOf(node)) };
    }
  });
}

/** SEQUENCE { type-id, [0] EXPLICIT UTF8String }: Sigstore's username, 1.3.6.1.4.1.57264.1.7. */
function otherName(node: DerNode): string {
  const [type, wrapped] = children(node);
  const text = wrapped === undefined ? undefined : children(wrapped)[0];
  const oid = readOid(type, 'the type of the name');
  const value = utf8Of(text);
  return oid === `${sigstoreArc}.7` ? value : `${oid} ${value}`;
}

function utf8Of(node: DerNode | undefined): string {
  return utf8(contentOf(expectTag(node, tag.utf8String, 'the text')));
}

function bitNames(bits: number): string {
  return keyUsages.filter((_, bit) => (bits & (1 << bit)) !== 0).join(', ');
}
