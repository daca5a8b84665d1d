/**
 * Just enough DER (X.690 Section 8.1) to take the poison extension out of a precertificate, byte for byte: the PreCert
 * TBSCertificate of RFC 6962 Section 3.2. Not a certificate parser: what it reads was parsed by OpenSSL before.
 */

/** Bytes that are not the DER expected of a certificate; the message says where. */
export class DerError extends Error {
  override readonly name = 'DerError';
}

interface Element {
  readonly tag: number;
  /** Tag, length and content. */
  readonly whole: Uint8Array;
  readonly content: Uint8Array;
}

const tags = { sequence: 0x30, extensions: 0xa3 } as const;

/** OBJECT IDENTIFIER 1.3.6.1.4.1.11129.2.4.3, the poison of RFC 6962 Section 3.1, as it stands in DER. */
const poisonOid = Buffer.from('060a2b06010401d679020403', 'hex');
/** The whole extension after its OID: critical TRUE, extnValue OCTET STRING of NULL. */
const poisonRest = Buffer.from('0101ff04020500', 'hex');

function readElement(bytes: Uint8Array, at: number): Element {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) throw new DerError(`the DER ends at byte ${at}`);
  let length = first;
  let start = at + 2;
  if (first >= 0x80) {
    const width = first - 0x80;
    if (width < 1 || width > 4) throw new DerError(`a length of ${width} bytes at byte ${at + 1}`);
    const digits = bytes.subarray(start, start + width);
    length = digits.reduce((value, byte) => value * 256 + byte, 0);
    start += width;
    if (digits.length < width || length < 0x80 || digits[0] === 0)
      throw new DerError(`a length that is not DER at ${at}`);
  }
  const end = start + length;
  if (end > bytes.length) throw new DerError(`an element at byte ${at} that ends after its container`);
  return { tag, whole: bytes.subarray(at, end), content: bytes.subarray(start, end) };
}

function children(bytes: Uint8Array): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < bytes.length; ) {
    const element = readElement(bytes, at);
    elements.push(element);
    at += element.whole.length;
  }
  return elements;
}

function only(bytes: Uint8Array, tag: number, what: string): Element {
  const element = readElement(bytes, 0);
  if (element.tag !== tag || element.whole.length !== bytes.length) throw new DerError(`${what} is not one element`);
  return element;
}

function encodeElement(tag: number, parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const digits: number[] = [];
  for (let rest = content.length; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  const length = content.length < 0x80 ? [content.length] : [0x80 + digits.length, ...digits];
  return Buffer.concat([Uint8Array.of(tag, ...length), content]);
}

/** The TBSCertificate of a certificate in pieces. */
interface Tbs {
  readonly before: readonly Element[];
  readonly extensions: readonly Element[];
}

function parseTbs(certificate: Uint8Array): Tbs {
  const [tbs] = children(only(certificate, tags.sequence, 'a certificate').content);
  if (tbs?.tag !== tags.sequence) throw new DerError('a certificate without a TBSCertificate');
  const fields = children(tbs.content);
  const last = fields.at(-1);
  if (last?.tag !== tags.extensions) return { before: fields, extensions: [] };
  const list = only(last.content, tags.sequence, 'the extension list');
  return { before: fields.slice(0, -1), extensions: children(list.content) };
}

function isPoison(extension: Element): boolean {
  return Buffer.compare(extension.content.subarray(0, poisonOid.length), poisonOid) === 0;
}

/**
 * The DER TBSCertificate of a precertificate without its poison, or undefined when the certificate carries no poison.
 * Throws DerError when it carries it twice, not critical, or with another value than NULL.
 */
export function withoutPoison(certificate: Uint8Array): Uint8Array | undefined {
  const { before, extensions } = parseTbs(certificate);
  const [poison, ...more] = extensions.filter(isPoison);
  if (poison === undefined) return undefined;
  if (more.length > 0) throw new DerError('the poison extension twice');
  if (Buffer.compare(poison.content.subarray(poisonOid.length), poisonRest) !== 0) {
    throw new DerError('a poison extension that is not critical with the value NULL');
  }
  const rest = extensions.filter((extension) => extension !== poison).map((extension) => extension.whole);
  const list = rest.length === 0 ? [] : [encodeElement(tags.extensions, [encodeElement(tags.sequence, rest)])];
  return encodeElement(tags.sequence, [...before.map((field) => field.whole), ...list]);
}
