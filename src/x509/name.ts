import {
  children,
  contentOf,
  DerError,
  type DerNode,
  encodeElement,
  encodeOid,
  encodeSequence,
  expectTag,
  readDer,
  readOid,
  tag,
} from './der.js';

const attributeNames: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
};

/** A DER Name of one organization and one common name, in this order, as UTF8Strings (RFC 5280 Section 4.1.2.4). */
export function encodeName(name: { readonly organization: string; readonly commonName: string }): Uint8Array {
  const attribute = (oid: string, value: string): Uint8Array =>
    encodeElement(tag.set, encodeSequence(encodeOid(oid), encodeElement(tag.utf8String, Buffer.from(value, 'utf8'))));
  return encodeSequence(attribute('2.5.4.10', name.organization), attribute('2.5.4.3', name.commonName));
}

/** One attribute of a Name (RFC 5280 Section 4.1.2.4). */
export interface NameAttribute {
  /** Dotted. */
  readonly oid: string;
  readonly value: string;
}

/** The attributes of a DER Name in their order; throws DerError. */
export function nameAttributes(name: Uint8Array): readonly NameAttribute[] {
  return children(expectTag(readDer(name), tag.sequence, 'the name')).flatMap((set) =>
    children(set).map((pair) => {
      const [type, value] = children(pair);
      return { oid: readOid(type, 'an attribute'), value: value === undefined ? '' : textOf(value) };
    }),
  );
}

/** BMPString is UTF-16BE (X.690 Section 8.23.8); what else is in use is a subset of UTF-8 or meant to be one. */
function textOf(value: DerNode): string {
  const bytes = Buffer.from(contentOf(value));
  const isBmp = value.tag === 0x1e && bytes.length % 2 === 0;
  return isBmp ? bytes.swap16().toString('utf16le') : bytes.toString('utf8');
}

/** A DER Name for people, "CN=root, O=lab"; never throws, since it serves error messages. */
export function describeName(name: Uint8Array): string {
  try {
    const parts = nameAttributes(name).map(
      ({ oid, value }) => `${attributeNames[oid] ?? oid}=${JSON.stringify(value).slice(1, -1)}`,
    );
    return parts.length === 0 ? '(empty name)' : parts.reverse().join(', ').slice(0, 256);
  } catch (error) {
    if (error instanceof DerError) return '(unreadable name)';
    throw error;
  }
}
