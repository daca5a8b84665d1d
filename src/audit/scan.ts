import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { follows, type Head, maxLineBytes, noHead, parseLine, sha256 } from './line.js';
import { type AuditLine, follow, type OpenIntent } from './record.js';

/** A file of a trail, as the next writer finds it. */
export interface ScannedFile {
  /** First line; undefined for a file without one whole line. */
  readonly first: AuditLine | undefined;
  /** Last line that is whole and in the chain. */
  readonly head: Head;
  /** Bytes up to its end. */
  readonly end: number;
  /** What follows it. */
  readonly torn: { readonly bytes: number; readonly sha256: string } | undefined;
  /** Intents without an outcome. */
  readonly open: ReadonlyMap<string, OpenIntent>;
}

const chunkBytes = 1024 * 1024;

/** The lines of a file, without their line feeds, and at last what stands behind the last line feed, if anything. */
export function* linesOf(fd: number): Generator<{ readonly bytes: Buffer; readonly whole: boolean }> {
  let rest = Buffer.alloc(0);
  for (let position = 0; ; ) {
    const chunk = Buffer.allocUnsafe(chunkBytes);
    const read = fs.readSync(fd, chunk, 0, chunkBytes, position);
    if (read === 0) break;
    position += read;
    const bytes = Buffer.concat([rest, chunk.subarray(0, read)]);
    let start = 0;
    for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, start)) {
      yield { bytes: bytes.subarray(start, end), whole: true };
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (rest.length > maxLineBytes) break;
  }
  if (rest.length > 0) yield { bytes: rest, whole: false };
}

/**
 * Reads a file to where its chain ends. A first line is taken at its word about what came before it. What follows the
 * last good line, be it a write that a crash cut off or a line that was changed, is measured and left alone.
 */
export function scanFile(fd: number): ScannedFile {
  const open = new Map<string, OpenIntent>();
  let [head, end] = [noHead, 0];
  let first: AuditLine | undefined;
  for (const { bytes, whole } of linesOf(fd)) {
    const line = whole ? goodLine(bytes, first === undefined ? undefined : head) : undefined;
    if (line === undefined) break;
    first ??= line;
    follow(open, line);
    head = { seq: line.seq, hash: sha256(bytes) };
    end += bytes.length + 1;
  }
  return { first, head, end, torn: measure(fd, end), open };
}

function goodLine(bytes: Buffer, head: Head | undefined): AuditLine | undefined {
  if (head !== undefined && !follows(head, bytes)) return undefined;
  try {
    return parseLine(bytes);
  } catch {
    return undefined;
  }
}

/** What a file holds from this offset on; undefined for nothing. */
export function measure(fd: number, from: number): ScannedFile['torn'] {
  const bytes = fs.fstatSync(fd).size - from;
  if (bytes <= 0) return undefined;
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (let position = from; ; ) {
    const read = fs.readSync(fd, chunk, 0, chunkBytes, position);
    if (read === 0) break;
    hash.update(chunk.subarray(0, read));
    position += read;
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** The file of the same trail that was set aside last, by us or by logrotate, beside `path`; compressed ones are not looked at. */
export function findPredecessor(path: string): { readonly file: string; readonly scanned: ScannedFile } | undefined {
  const [directory, name] = [dirname(path), basename(path)];
  const found = fs
    .readdirSync(directory)
    .filter(
      (file) => (file.startsWith(`${name}.`) || file.startsWith(`${name}-`)) && !/\.(lock|gz|xz|zst|bz2)$/.test(file),
    )
    .flatMap((file) => {
      const first = firstLineOf(join(directory, file));
      return first === undefined ? [] : [{ file, first }];
    })
    .sort((a, b) => a.first.time.localeCompare(b.first.time) || a.first.seq - b.first.seq)
    .at(-1);
  if (found === undefined) return undefined;
  return { file: found.file, scanned: reading(join(directory, found.file), scanFile) };
}

/** Undefined where a file does not begin with a line of a trail. */
export function firstLineOf(path: string): AuditLine | undefined {
  if (!fs.statSync(path).isFile()) return undefined;
  return reading(path, (fd) => {
    for (const { bytes, whole } of linesOf(fd)) return whole ? goodLine(bytes, undefined) : undefined;
    return undefined;
  });
}

/** Opens a file for as long as `read` takes. */
export function reading<T>(path: string, read: (fd: number) => T): T {
  const fd = fs.openSync(path, 'r');
  try {
    return read(fd);
  } finally {
    fs.closeSync(fd);
  }
}
