/** PEM (RFC 7468), read as leniently as Fulcio's clients need and written in the strict form. */

/** Text that holds no PEM block of the kind asked for; the message says what was found and may be shown. */
export class PemError extends Error {
  override readonly name = 'PemError';
}

export interface PemBlock {
  readonly label: string;
  readonly der: Uint8Array;
}

const beginMark = '-----BEGIN ';
const dashes = '-----';
const maxLabel = 64;

/**
 * The first PEM block of `text`, which must carry one of `labels`. Text before and after it, CRLF, base64 in one line
 * and RFC 1421 headers are accepted. Runs in time linear in the text; throws PemError.
 */
export function decodePem(text: string | Uint8Array, labels: readonly string[]): PemBlock {
  const first = nextBlock(asText(text), 0);
  if (first === undefined) {
    throw new PemError(`found no "${beginMark}…${dashes}" line; expected PEM with the label ${either(labels)}`);
  }
  if (!labels.includes(first.label)) {
    throw new PemError(`found PEM with the label "${first.label}"; expected ${either(labels)}`);
  }
  return { label: first.label, der: decodeBody(first.body, first.label) };
}

/** Every PEM block with this label, in order; blocks with other labels are passed over. Throws PemError. */
export function decodePemAll(text: string | Uint8Array, label: string): readonly Uint8Array[] {
  const source = asText(text);
  const found: Uint8Array[] = [];
  for (let block = nextBlock(source, 0); block !== undefined; block = nextBlock(source, block.end)) {
    if (block.label === label) found.push(decodeBody(block.body, label));
  }
  return found;
}

/** The labels of all PEM blocks, in order. Throws PemError for a block without an end. */
export function pemLabels(text: string | Uint8Array): readonly string[] {
  const source = asText(text);
  const labels: string[] = [];
  for (let block = nextBlock(source, 0); block !== undefined; block = nextBlock(source, block.end)) {
    labels.push(block.label);
  }
  return labels;
}

/** The label of the first PEM block, or undefined when there is no BEGIN line. */
export function pemLabel(text: string | Uint8Array): string | undefined {
  const source = asText(text);
  const begin = nextBegin(source, 0);
  return begin?.label;
}

/** PEM in lines of 64 characters, ending in a newline, or in what `newline` gives for one. */
export function encodePem(label: string, der: Uint8Array, newline = '\n'): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('base64');
  let text = beginMark + label + dashes + newline;
  for (let i = 0; i < base64.length; i += 64) text += base64.slice(i, i + 64) + newline;
  return `${text}-----END ${label}${dashes}${newline}`;
}

function asText(text: string | Uint8Array): string {
  return typeof text === 'string'
    ? text
    : Buffer.from(text.buffer, text.byteOffset, text.byteLength).toString('latin1');
}

interface RawBlock {
  readonly label: string;
  readonly body: string;
  readonly end: number;
}

function nextBlock(text: string, from: number): RawBlock | undefined {
  const begin = nextBegin(text, from);
  if (begin === undefined) return undefined;
  const endMark = `-----END ${begin.label}${dashes}`;
  const end = text.indexOf(endMark, begin.end);
  if (end < 0) throw new PemError(`the PEM block "${begin.label}" has no "${endMark}" line`);
  return { label: begin.label, body: text.slice(begin.end, end), end: end + endMark.length };
}

/** The next BEGIN mark that stands at the start of a line. */
function nextBegin(text: string, from: number): { label: string; end: number } | undefined {
  for (let at = text.indexOf(beginMark, from); at >= 0; at = text.indexOf(beginMark, at + 1)) {
    if (at > 0 && text[at - 1] !== '\n' && text[at - 1] !== '\r') continue;
    const labelStart = at + beginMark.length;
    const length = text.slice(labelStart, labelStart + maxLabel + dashes.length).indexOf(dashes);
    if (length < 0) continue;
    const label = text.slice(labelStart, labelStart + length);
    if (/^[\x21-\x2c\x2e-\x7e]+([ -][\x21-\x2c\x2e-\x7e]+)*$/.test(label)) {
      return { label, end: labelStart + length + dashes.length };
    }
  }
  return undefined;
}

function decodeBody(body: string, label: string): Uint8Array {
  const base64 = withoutHeaders(body, label).replaceAll(/[ \t\r\n]+/g, '');
  if (base64.length === 0) throw new PemError(`the PEM block "${label}" is empty`);
  if (base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) {
    throw new PemError(`the PEM block "${label}" does not hold base64 (RFC 4648 Section 4, with padding)`);
  }
  return Buffer.from(base64, 'base64');
}

/** RFC 1421 headers ("Key: value") end at the first empty line. */
function withoutHeaders(body: string, label: string): string {
  if (!body.includes(':')) return body;
  const unixLines = body.replaceAll('\r\n', '\n');
  const blank = unixLines.indexOf('\n\n');
  if (blank < 0) throw new PemError(`the PEM block "${label}" has headers but no empty line after them`);
  return unixLines.slice(blank);
}

function either(labels: readonly string[]): string {
  return labels.map((label) => `"${label}"`).join(' or ');
}
