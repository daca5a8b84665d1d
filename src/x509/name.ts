import {
  children,
  contentOf,
  DerError,
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

/** A DER Name for people, "CN=root, O=lab"; never throws, since it serves error messages. */
export function describeName(name: Uint8Array): string {
  try {
    const parts = children(expectTag(readDer(name), tag.sequence, 'the name')).flatMap((set) =>
      children(set).map((pair) => {
        const [type, value] = children(pair);
        const oid = readOid(type, 'an attribute');
        const text = value === undefined ? '' : Buffer.from(contentOf(value)).toString('utf8');
        return `${attributeNames[oid] ?? oid}=${JSON.stringify(text).slice(1, -1)}`;
      }),
    );
    return parts.length === 0 ? '(empty name)' : parts.reverse().join(', ').slice(0, 256);
  } catch (error) {
    if (error instanceof DerError) return '(unreadable name)';
    throw error;
  }
}
