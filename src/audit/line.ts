/**
 * The bytes of the audit trail. A line is one JSON object as JSON.stringify writes it, in UTF-8, and a line feed; its first
 * member is `"prev"`, the lower-case hex of SHA-256 over the bytes of the line before it, without that line's line feed.
 * The first line of a trail has 64 zeros there. So the chain is checked on bytes, before anything is parsed.
 */
import { hash } from 'node:crypto';
import { messageOf } from '../errors.js';
import { parseStrictJson } from '../json.js';
import { type AuditLine, type AuditRecord, auditLine } from './record.js';

/** The last line of a chain. */
export interface Head {
  /** 0 when there is no line yet. */
  readonly seq: number;
  /** SHA-256 of its bytes without the line feed, lower-case hex. */
  readonly hash: string;
}

export const noHead: Head = { seq: 0, hash: '0'.repeat(64) };

/** Longer lines are not written, and not read. */
export const maxLineBytes = 4 * 1024 * 1024;

/** The line that follows `head`, line feed included, and the head it makes; `time` in milliseconds since the epoch. */
export function encodeLine(
  head: Head,
  time: number,
  record: AuditRecord,
): { readonly text: string; readonly head: Head } {
  const seq = head.seq + 1;
  const line = JSON.stringify({ prev: head.hash, seq, time: new Date(time).toISOString(), ...record });
  return { text: `${line}\n`, head: { seq, hash: sha256(line) } };
}

/** Whether the bytes of a line, without its line feed, begin as the line after `head` does. */
export function follows(head: Head, line: Buffer): boolean {
  const start = `{"prev":"${head.hash}","seq":${head.seq + 1},"`;
  return line.toString('latin1', 0, start.length) === start;
}

/** Parses a line without its line feed; throws SyntaxError whose message says what is wrong. */
export function parseLine(line: Buffer): AuditLine {
  const value = parseStrictJson(line);
  // One line has one spelling: no second reading hides in white space or escapes.
  if (JSON.stringify(value) !== line.toString('utf8')) throw new SyntaxError('it is not spelled as a trail spells it');
  const parsed = auditLine.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new SyntaxError(`its member "${issue?.path.join('.') ?? ''}" is wrong: ${messageOf(issue)}`);
}

/** Lower-case hex. */
export function sha256(bytes: Uint8Array | string): string {
  return hash('sha256', bytes, 'hex');
}
