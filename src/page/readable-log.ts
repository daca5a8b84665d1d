import type { KeyObject } from 'node:crypto';
import { openCheckpoint } from '../ctlog/checkpoint.js';
import type { EmbeddedLog } from '../ctlog/log.js';
import type { LogEntry } from '../ctlog/reads.js';
import { checkpointPath } from '../ctlog/storage.js';
import { AppError } from '../errors.js';
import { detailOf, type EntryDetail, type EntrySummary, summaryOf } from './certificate.js';

/** A log of this instance that the explorer reads. */
export type ReadableLog = Pick<EmbeddedLog, 'origin' | 'publicKey' | 'logId' | 'reads' | 'files' | 'treeHead'>;

/** One entry with everything that a browser needs to check by itself that the log has it. */
export interface EntryAnswer {
  readonly entry: EntryDetail;
  readonly log: { readonly origin: string; readonly logId: string; readonly publicKey: string };
  /** Base64 of the MerkleTreeLeaf. */
  readonly leafInput: string;
  /** The published checkpoint, a signed note. */
  readonly checkpoint: string;
  /** Base64, from the leaf's sibling up, to the root in the checkpoint. */
  readonly auditPath: readonly string[];
}

/** Summaries never change, so the newest ones asked for are kept. */
const keptSummaries = 2000;

/** Reads of one log in the explorer's terms. */
export class LogExplorer {
  readonly log: ReadableLog;
  readonly #summaries = new Map<number, EntrySummary>();

  constructor(log: ReadableLog) {
    this.log = log;
  }

  get size(): number {
    return this.log.treeHead().size;
  }

  /** Entries `from` up to and without `to`, newest first. */
  async range(from: number, to: number): Promise<EntrySummary[]> {
    const wanted = Array.from({ length: Math.max(0, to - from) }, (_, i) => to - 1 - i);
    return this.summaries(wanted);
  }

  /** In the order asked for. */
  async summaries(indexes: readonly number[]): Promise<EntrySummary[]> {
    const missing = indexes.filter((index) => !this.#summaries.has(index)).sort((a, b) => a - b);
    const fresh = new Map<number, EntrySummary>();
    for (const [first, last] of runs(missing)) {
      for (let at = first; at <= last; ) {
        const entries = await this.log.reads.entries(at, last);
        if (entries.length === 0) throw new AppError('INTERNAL', '');
        for (const entry of entries) fresh.set(at, this.#keep(summaryOf(entry, at++)));
      }
    }
    return indexes.flatMap((index) => fresh.get(index) ?? this.#summaries.get(index) ?? []);
  }

  async entry(index: number): Promise<LogEntry> {
    const { size } = this;
    if (index >= size) throw new AppError('NOT_FOUND', `the log has no entry ${index}; it has ${size}`);
    const [entry] = await this.log.reads.entries(index, index);
    if (entry === undefined) throw new AppError('INTERNAL', '');
    return entry;
  }

  /** The entry with its proof in the published checkpoint. */
  async answer(index: number): Promise<EntryAnswer> {
    const { reads, files, origin, publicKey, logId } = this.log;
    const entry = await this.entry(index);
    const note = await files.fetch(checkpointPath);
    if (note === undefined) throw new AppError('NOT_FOUND', 'the log has published no checkpoint yet');
    const { size } = openCheckpoint(note, { origin, logKey: publicKey });
    if (index >= size) throw new AppError('NOT_FOUND', `entry ${index} is not in the published checkpoint yet`);
    const path = await reads.inclusionProof(index, size);
    return {
      entry: detailOf(entry, index),
      log: { origin, logId: Buffer.from(logId).toString('hex'), publicKey: spkiOf(publicKey) },
      leafInput: base64(entry.leafInput),
      checkpoint: Buffer.from(note).toString('utf8'),
      auditPath: path.map(base64),
    };
  }

  #keep(summary: EntrySummary): EntrySummary {
    this.#summaries.set(summary.index, summary);
    const [oldest] = this.#summaries.keys();
    if (this.#summaries.size > keptSummaries && oldest !== undefined) this.#summaries.delete(oldest);
    return summary;
  }
}

/** Ascending indexes as runs without gaps, both ends inclusive. */
function runs(indexes: readonly number[]): [number, number][] {
  const found: [number, number][] = [];
  for (const index of indexes) {
    const last = found.at(-1);
    if (last !== undefined && last[1] === index - 1) last[1] = index;
    else found.push([index, index]);
  }
  return found;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

export function spkiOf(key: KeyObject): string {
  return base64(key.export({ type: 'spki', format: 'der' }));
}
