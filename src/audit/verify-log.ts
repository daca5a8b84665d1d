import type { KeyObject } from 'node:crypto';
import { logIdOf } from '../ct/sct.js';
import { dedupeKey } from '../ctlog/candidate.js';
import { fsckLog } from '../ctlog/fsck.js';
import type { LogReader } from '../ctlog/storage.js';
import type { AuditLine } from './record.js';
import type { Problem } from './verify.js';

/** The precertificates of one log, by the `entry` of a trail; about 250 bytes of memory each. */
export interface LogContents {
  readonly name: string;
  /** Lower-case hex. */
  readonly id: string;
  readonly size: number;
  readonly entries: ReadonlyMap<string, { readonly index: number; readonly timestamp: number }>;
}

export interface ReadLogOptions {
  readonly logKey: KeyObject;
  /** SHA-256 of the public key of each CA whose entries count, lower-case hex; undefined: of all. */
  readonly issuerKeys?: ReadonlySet<string> | undefined;
  readonly report: (problem: Problem) => void;
  readonly progress?: (checked: number, total: number) => void;
}

/** Reads a log from its first entry to its checkpoint and checks its tree on the way; undefined when it has no usable checkpoint. */
export async function readLogContents(reader: LogReader, options: ReadLogOptions): Promise<LogContents | undefined> {
  const { logKey, issuerKeys, report, progress } = options;
  const entries = new Map<string, { index: number; timestamp: number }>();
  const summary = await fsckLog(reader, {
    logKey,
    precertificates: false,
    report: ({ file, expected, found }) =>
      report({ file: `${reader.name}/${file}`, problem: `expected ${expected}; found ${found}` }),
    onLeaf: ({ timestampedEntry: { entry, timestamp } }, index) => {
      if (entry.type !== 'precert' || issuerKeys?.has(hex(entry.issuerKeyHash)) === false) return;
      entries.set(hex(dedupeKey(entry)), { index, timestamp: Number(timestamp) });
    },
    ...(progress === undefined ? {} : { progress }),
  });
  return summary && { name: reader.name, id: hex(logIdOf(logKey)), size: summary.size, entries };
}

/** What a comparison went through. */
export interface Comparison {
  readonly log: string;
  readonly entries: number;
  /** Lines whose entry is in the log where they say. */
  readonly matched: number;
  /** Entries that are older than the first line that was given. */
  readonly before: number;
  /** Lines whose entry lies behind the checkpoint that was read. */
  readonly behind: number;
}

/** Holds the lines of a trail against one log, both ways: every line's entry, and every entry's line. */
export class LogComparison {
  readonly #log: LogContents;
  readonly #report: (problem: Problem) => void;
  readonly #known = new Set<string>();
  #start = Number.POSITIVE_INFINITY;
  #matched = 0;
  #behind = 0;

  constructor(log: LogContents, report: (problem: Problem) => void) {
    this.#log = log;
    this.#report = report;
  }

  line(line: AuditLine, file: string, number: number): void {
    this.#start = Math.min(this.#start, Date.parse(line.time));
    for (const { entry } of line.open ?? []) this.#known.add(entry);
    const { entry } = line;
    if (entry === undefined) return;
    this.#known.add(entry);
    const found = this.#log.entries.get(entry);
    const problem = (text: string) => this.#report({ file, line: number, problem: text });
    if (line.outcome === 'not-logged' && found !== undefined) {
      problem(`it says that its certificate was not logged; ${this.#log.name} has it as entry ${found.index}`);
    }
    for (const { id, index } of line.logs ?? []) {
      if (id !== this.#log.id) continue;
      if (found !== undefined && (index === undefined || index === found.index)) this.#matched += 1;
      else if (found === undefined && index !== undefined && index >= this.#log.size) this.#behind += 1;
      else problem(`it says entry ${index ?? 'somewhere'} of ${this.#log.name}; ${placeOf(found)}`);
    }
  }

  /** To be called after the last line. */
  end(): Comparison {
    const { name, entries } = this.#log;
    let before = 0;
    for (const [entry, { index, timestamp }] of entries) {
      if (this.#known.has(entry)) continue;
      if (timestamp < this.#start) before += 1;
      else
        this.#report({
          file: name,
          problem: `entry ${index} of ${new Date(timestamp).toISOString()} has no line in the trail`,
        });
    }
    return { log: name, entries: entries.size, matched: this.#matched, before, behind: this.#behind };
  }
}

function placeOf(found: { readonly index: number } | undefined): string {
  return found === undefined
    ? 'the log does not have its certificate'
    : `the log has its certificate as entry ${found.index}`;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
