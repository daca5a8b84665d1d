import { messageOf } from '../errors.js';
import { type ExpectedHead, HeadCheck, partFiles } from './head-check.js';
import { follows, type Head, noHead, parseLine, sha256 } from './line.js';
import { type AuditLine, follow, type OpenIntent } from './record.js';
import { firstLineOf, linesOf, measure, reading } from './scan.js';

/** Something that cannot be so in a trail nobody has touched. */
export interface Problem {
  readonly file: string;
  /** From 1; undefined where it is no single line's. */
  readonly line?: number;
  readonly problem: string;
}

/** One trail, as far as its chain holds. */
export interface VerifiedTrail {
  /** '' where no line says it. */
  readonly trail: string;
  readonly instance: string;
  readonly files: readonly string[];
  /** Sequence number of the first line that was given; above 1, earlier files were not. */
  readonly first: number;
  readonly head: Head;
  /** Of the first and the last line. */
  readonly from: string;
  readonly to: string;
  readonly events: ReadonlyMap<string, number>;
  /** Intents without an outcome: requests under way, or a server that was killed and has not been started again. */
  readonly open: number;
  readonly stopped: boolean;
  /** Ends of files that a crash cut off, and that the next file names. */
  readonly torn: number;
}

export interface VerifyOptions {
  /** `about` is `end` where all lines that were given are in order, and others are missing behind them. */
  readonly report: (problem: Problem, about: 'chain' | 'end') => void;
  /** Told every line that is in its place. */
  readonly onLine?: (line: AuditLine, file: string, number: number) => void;
  /** Heads noted earlier: their lines must still be there. */
  readonly expected?: readonly ExpectedHead[];
}

interface File {
  readonly path: string;
  readonly first: AuditLine | undefined;
}

/**
 * Checks files of one or several trails, given in any order. The chain of each is followed to its end, or to its first bad
 * line, which is reported with the reason; then the heads that were noted, by whoever calls or beside the trail, are held
 * against it. Locks and heads among the paths are known by their names. Reads line by line; throws what the file system throws.
 */
export function verifyTrails(paths: readonly string[], options: VerifyOptions): VerifiedTrail[] {
  const given = partFiles(paths);
  const heads = new HeadCheck(options.expected ?? [], given.heads);
  let broken = false;
  const report = (problem: Problem): void => {
    broken = true;
    options.report(problem, 'chain');
  };
  const files = given.trails.map((path): File => ({ path, first: firstLineOf(path) }));
  const trails = new Map<string, File[]>();
  for (const file of files) {
    if (file.first !== undefined) trails.set(trailOf(file), [...(trails.get(trailOf(file)) ?? []), file]);
  }
  const tornOnly = new Set(files.filter(({ first }) => first === undefined).map(({ path }) => path));
  const verified = [...trails.values()].map((own) =>
    new TrailCheck({ ...options, report }, heads, tornOnly).run(inOrder(own)),
  );
  for (const path of tornOnly) report({ file: path, line: 1, problem: 'it is not a line of a trail' });
  for (const problem of heads.problems(verified, given.trails, broken)) options.report(problem, 'end');
  return verified;
}

function trailOf({ first }: File): string {
  return first?.trail ?? '';
}

function inOrder(files: readonly File[]): File[] {
  return [...files].sort((a, b) => (a.first?.seq ?? 0) - (b.first?.seq ?? 0));
}

interface BadLine extends Problem {
  readonly whole: boolean;
}

class TrailCheck {
  readonly #options: VerifyOptions;
  readonly #heads: HeadCheck;
  /** Files without a whole line: a crash cut their first one off. The one that is explained is taken out. */
  readonly #tornOnly: Set<string>;
  readonly #open = new Map<string, OpenIntent>();
  readonly #events = new Map<string, number>();
  #head: Head = noHead;
  #first: AuditLine | undefined;
  #last: AuditLine | undefined;
  #torn = 0;

  constructor(options: VerifyOptions, heads: HeadCheck, tornOnly: Set<string>) {
    this.#options = options;
    this.#heads = heads;
    this.#tornOnly = tornOnly;
  }

  run(files: readonly File[]): VerifiedTrail {
    this.#first = files[0]?.first;
    const { seq = 1, prev = noHead.hash } = this.#first ?? {};
    this.#head = { seq: seq - 1, hash: prev };
    if (seq === 1 && prev !== noHead.hash) {
      this.#report(files[0]?.path ?? '', 1, 'it is line 1 of the trail, and names a line before it');
    }
    for (const [at, file] of files.entries()) {
      if (!reading(file.path, (fd) => this.#file(fd, file, files[at + 1]?.first))) break;
    }
    const [from, to] = [this.#first?.time ?? '', this.#last?.time ?? ''];
    return {
      trail: this.#first?.trail ?? '',
      instance: this.#first?.instance ?? '',
      files: files.map(({ path }) => path),
      first: seq,
      head: this.#head,
      from,
      to,
      events: this.#events,
      open: this.#open.size,
      stopped: this.#last?.event === 'stopped',
      torn: this.#torn,
    };
  }

  /** Whether the chain goes on behind this file. */
  #file(fd: number, { path, first }: File, next: AuditLine | undefined): boolean {
    let number = 0;
    let end = 0;
    const torn = first?.previous?.torn;
    if (torn !== undefined) this.#explain(torn);
    for (const { bytes, whole } of linesOf(fd)) {
      number += 1;
      const problem = whole
        ? this.#line(bytes, path, number)
        : `${bytes.length} bytes without a line feed: a line that was cut off`;
      if (problem !== undefined) return this.#bad(fd, end, { file: path, line: number, problem, whole }, next);
      end += bytes.length + 1;
    }
    return true;
  }

  /** What is wrong with a line, or undefined. */
  #line(bytes: Buffer, file: string, number: number): string | undefined {
    let line: AuditLine;
    try {
      line = parseLine(bytes);
    } catch (error) {
      return messageOf(error);
    }
    if (!follows(this.#head, bytes)) return misplaced(line, this.#head);
    if (number === 1 && line.event !== 'opened') return `its event is "${line.event}"; a file begins with "opened"`;
    this.#head = { seq: line.seq, hash: sha256(bytes) };
    this.#last = line;
    this.#events.set(line.event, (this.#events.get(line.event) ?? 0) + 1);
    follow(this.#open, line);
    this.#heads.line(this.#first?.trail ?? '', this.#head, file, number);
    if (line.missing !== undefined) this.#report(file, number, aboutMissing(line.missing));
    this.#options.onLine?.(line, file, number);
    return undefined;
  }

  /**
   * Whether the next file says what follows the last good line: then the server found it so when it started. One cut-off
   * line is what a crash leaves; more than that is reported, be it named or not.
   */
  #bad(fd: number, end: number, { whole, ...problem }: BadLine, next: AuditLine | undefined): boolean {
    const rest = measure(fd, end);
    const named = next?.previous?.torn;
    const explained = next?.prev === this.#head.hash && named?.bytes === rest?.bytes && named?.sha256 === rest?.sha256;
    if (!explained || whole) this.#options.report(problem, 'chain');
    else this.#torn += 1;
    return explained;
  }

  #explain({ bytes, sha256: hash }: { bytes: number; sha256: string }): void {
    for (const path of this.#tornOnly) {
      const found = reading(path, (fd) => measure(fd, 0));
      if (found?.bytes !== bytes || found.sha256 !== hash) continue;
      this.#tornOnly.delete(path);
      this.#torn += 1;
      return;
    }
  }

  #report(file: string, line: number, problem: string): void {
    this.#options.report({ file, line, problem }, 'chain');
  }
}

function aboutMissing({ seq, sha256: hash }: NonNullable<AuditLine['missing']>): string {
  return `line ${seq} of the trail, SHA-256 ${hash}, was gone or changed when the server started here`;
}

function misplaced(line: AuditLine, head: Head): string {
  const expected = head.seq + 1;
  if (line.seq > expected) {
    const missing = line.seq === expected + 1 ? `line ${expected} is` : `lines ${expected} to ${line.seq - 1} are`;
    return `it is line ${line.seq} of the trail, and ${missing} missing before it: removed, or in a file that was not given`;
  }
  if (line.seq < expected)
    return `it is line ${line.seq} of the trail, and stands behind line ${head.seq}: a copy, or moved`;
  return `the line before it, line ${head.seq} of the trail, was changed: its SHA-256 is ${head.hash}, and was ${line.prev}`;
}
