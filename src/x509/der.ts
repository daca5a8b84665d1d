/**
 * DER (ITU-T X.690 Section 10): a strict reader that looks no deeper than it is asked to, and a few builders.
 *
 * The reader takes only definite, minimal lengths and single-octet tags, and never recurses: the caller walks down the
 * structure it expects, so hostile nesting costs nothing.
 */

/** Identifier octets of the types that certificates and keys are made of. */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  /** [n] EXPLICIT, or IMPLICIT of a constructed type. */
  context: (n: number): number => 0xa0 | n,
  /** [n] IMPLICIT of a primitive type. */
  contextPrimitive: (n: number): number => 0x80 | n,
} as const;

/** Bytes that are not the DER they should be; `offset` counts from the start of the input given to `readDer`. */
export class DerError extends Error {
  override readonly name = 'DerError';
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(`${message} (at byte ${offset})`);
    this.offset = offset;
  }
}

/** One element inside `source`: header from `start`, content from `contentStart` up to and without `end`. */
export interface DerNode {
  readonly source: Uint8Array;
  readonly tag: number;
  readonly start: number;
  readonly contentStart: number;
  readonly end: number;
}

/** The one element that fills `source`; throws DerError when bytes are missing or left over. */
export function readDer(source: Uint8Array): DerNode {
  const node = readElement(source, 0, source.length);
  if (node.end !== source.length) {
    throw new DerError(`${source.length - node.end} bytes follow the end of the structure`, node.end);
  }
  return node;
}

function readElement(source: Uint8Array, start: number, limit: number): DerNode {
  const tagByte = source[start];
  const first = source[start + 1];
  if (start + 2 > limit || tagByte === undefined || first === undefined) {
    throw new DerError('the structure ends in the middle of a header', start);
  }
  if ((tagByte & 0x1f) === 0x1f) throw new DerError('a tag of more than one byte', start);
  let contentStart = start + 2;
  let length = first;
  if (first >= 0x80) {
    const size = first & 0x7f;
    if (size === 0) throw new DerError('an indefinite length; DER has definite ones only', start);
    if (size > 4) throw new DerError('a length of more than four bytes', start);
    if (contentStart + size > limit) throw new DerError('the structure ends in the middle of a length', start);
    length = 0;
    for (let i = 0; i < size; i++) length = length * 256 + (source[contentStart + i] ?? 0);
    if (length < 0x80 || length < 256 ** (size - 1)) throw new DerError('a length that is not minimal', start);
    contentStart += size;
  }
  const end = contentStart + length;
  if (end > limit) throw new DerError(`an element of ${length} bytes where ${limit - contentStart} are left`, start);
  return { source, tag: tagByte, start, contentStart, end };
}

/** The elements inside a constructed one, in order; `max` bounds their number. */
export function children(node: DerNode, max = 1024): readonly DerNode[] {
  if ((node.tag & 0x20) === 0) throw new DerError('a primitive element where a constructed one belongs', node.start);
  const nodes: DerNode[] = [];
  for (let at = node.contentStart; at < node.end; ) {
    if (nodes.length === max) throw new DerError(`more than ${max} elements`, at);
    const child = readElement(node.source, at, node.end);
    nodes.push(child);
    at = child.end;
  }
  return nodes;
}

/** `node`, when it is there and has the tag; `what` names it in the DerError otherwise. */
export function expectTag(node: DerNode | undefined, expected: number, what: string, parent?: DerNode): DerNode {
  if (node === undefined) throw new DerError(`${what} is missing`, parent?.end ?? 0);
  if (node.tag !== expected) {
    throw new DerError(`${what} has tag 0x${hex(node.tag)}; expected 0x${hex(expected)}`, node.start);
  }
  return node;
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

/** A view of the element's content octets. */
export function contentOf(node: DerNode): Uint8Array {
  return node.source.subarray(node.contentStart, node.end);
}

/** A view of the whole element, header included. */
export function encodingOf(node: DerNode): Uint8Array {
  return node.source.subarray(node.start, node.end);
}

/** Content of an INTEGER that is not negative, as big-endian bytes without the sign octet (zero is one 0x00). */
export function readUnsigned(node: DerNode | undefined, what: string): Uint8Array {
  const element = expectTag(node, tag.integer, what);
  const content = contentOf(element);
  const [first, second] = content;
  if (first === undefined) throw new DerError(`${what} is an empty integer`, element.start);
  if (first >= 0x80) throw new DerError(`${what} is negative`, element.start);
  if (first === 0 && second !== undefined && second < 0x80) {
    throw new DerError(`${what} is not a minimal integer`, element.start);
  }
  return first === 0 && content.length > 1 ? content.subarray(1) : content;
}

/** Bytes of a BIT STRING whose last octet is full, as keys and signatures are. */
export function readBitString(node: DerNode | undefined, what: string): Uint8Array {
  const element = expectTag(node, tag.bitString, what);
  const content = contentOf(element);
  if (content[0] !== 0) throw new DerError(`${what} is a bit string with unused bits`, element.start);
  return content.subarray(1);
}

/** Dotted decimal form of an OBJECT IDENTIFIER; arcs above 2^53 are refused. */
export function readOid(node: DerNode | undefined, what: string): string {
  const element = expectTag(node, tag.oid, what);
  const content = contentOf(element);
  const last = content.at(-1);
  if (last === undefined || last >= 0x80) throw new DerError(`${what} is cut off`, element.start);
  const arcs: number[] = [];
  let value = 0;
  let fresh = true;
  for (const byte of content) {
    if (fresh && byte === 0x80) throw new DerError(`${what} is not minimal`, element.start);
    value = value * 128 + (byte & 0x7f);
    if (value > Number.MAX_SAFE_INTEGER / 128)
      throw new DerError(`${what} has an arc that is too large`, element.start);
    fresh = byte < 0x80;
    if (!fresh) continue;
    if (arcs.length === 0) {
      const top = Math.min(2, Math.floor(value / 40));
      arcs.push(top, value - 40 * top);
    } else arcs.push(value);
    value = 0;
  }
  return arcs.join('.');
}

/** The instant of a UTCTime or GeneralizedTime in the forms RFC 5280 Section 4.1.2.5 allows (seconds, Z). */
export function readTime(node: DerNode | undefined, what: string): Date {
  if (node === undefined) throw new DerError(`${what} is missing`, 0);
  const text = Buffer.from(contentOf(node)).toString('latin1');
  const form = node.tag === tag.utcTime ? /^\d{12}Z$/ : node.tag === tag.generalizedTime ? /^\d{14}Z$/ : undefined;
  if (!form?.test(text))
    throw new DerError(`${what} is not a UTCTime or GeneralizedTime with seconds and Z`, node.start);
  const century = Number(text.slice(0, 2)) >= 50 ? '19' : '20';
  const full = node.tag === tag.utcTime ? century + text : text;
  const iso = full.replace(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
  const time = new Date(iso);
  // A Date rolls 30 February over to March; the round trip does not.
  if (Number.isNaN(time.getTime()) || time.toISOString().slice(0, 19) !== iso.slice(0, 19)) {
    throw new DerError(`${what} is not a date: ${text}`, node.start);
  }
  return time;
}

/** One element around the concatenation of `parts`. */
export function encodeElement(tagByte: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([header(tagByte, length), ...parts]);
}

function header(tagByte: number, length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(tagByte, length);
  const size = length < 0x100 ? 1 : length < 0x10000 ? 2 : length < 0x1000000 ? 3 : 4;
  const bytes = new Uint8Array(2 + size);
  bytes[0] = tagByte;
  bytes[1] = 0x80 | size;
  for (let i = 0, rest = length; i < size; i++, rest = Math.floor(rest / 256)) bytes[1 + size - i] = rest & 0xff;
  return bytes;
}

/** SEQUENCE of `parts`. */
export function encodeSequence(...parts: readonly Uint8Array[]): Uint8Array {
  return encodeElement(tag.sequence, ...parts);
}

/** BIT STRING of whole octets. */
export function encodeBitString(bytes: Uint8Array): Uint8Array {
  return encodeElement(tag.bitString, Uint8Array.of(0), bytes);
}

/** OBJECT IDENTIFIER from its dotted decimal form. */
export function encodeOid(dotted: string): Uint8Array {
  const [top = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes: number[] = [];
  for (const arc of [top * 40 + second, ...rest]) {
    const digits = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      digits.unshift((left & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return encodeElement(tag.oid, Uint8Array.from(bytes));
}

/** UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280 Section 4.1.2.5); fractions of a second are dropped. */
export function encodeTime(time: Date): Uint8Array {
  const year = time.getUTCFullYear();
  // A Date that is none has no year, and must not become a certificate's either.
  if (!(year >= 1950 && year <= 9999)) throw new RangeError(`a certificate cannot hold the year ${year}`);
  const century = year < 2050 ? [] : [Math.floor(year / 100)];
  const clock = [time.getUTCHours(), time.getUTCMinutes(), time.getUTCSeconds()];
  const pairs = [...century, year % 100, time.getUTCMonth() + 1, time.getUTCDate(), ...clock];
  const length = 2 * pairs.length + 1;
  const bytes = new Uint8Array(2 + length);
  bytes[0] = year < 2050 ? tag.utcTime : tag.generalizedTime;
  bytes[1] = length;
  pairs.forEach((pair, i) => {
    bytes[2 + 2 * i] = 0x30 + Math.floor(pair / 10);
    bytes[3 + 2 * i] = 0x30 + (pair % 10);
  });
  bytes[1 + length] = 0x5a;
  return bytes;
}
