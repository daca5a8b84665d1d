import { encodeSignedEntry } from '../ct/leaf.js';
import { AppError, messageOf } from '../errors.js';
import { type Candidate, dedupeKeyOf, sequencedLeaf } from './candidate.js';
import { Gathering, type GatheringOptions } from './gathering.js';
import type { IndexCache, IndexEntry, Placed } from './index-cache.js';
import type { Issuers } from './issuers.js';
import { CheckpointConflict } from './storage.js';
import type { TileReader } from './tile-reader.js';
import type { LogLogger, Placement, Writer } from './writer.js';

export interface SequencerOptions extends Omit<GatheringOptions, 'maxBatch'> {
  readonly writer: Writer;
  readonly index: IndexCache;
  readonly issuers: Issuers;
  readonly tiles: TileReader;
  readonly logger: LogLogger;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Entries that may wait for the batch after the one in commit. */
  readonly maxPending: number;
  /** An idle log's head is signed again when it is this old. */
  readonly resignIntervalMs: number;
  /** Pause before a stopped writer's storage is read again; doubles up to ten seconds. */
  readonly reopenDelayMs: number;
  readonly commits?: CommitObserver | undefined;
}

/** Told of what the log commits, for metrics and traces; must not throw. */
export interface CommitObserver {
  /** Called for each entry that is queued; the batch it becomes a part of carries what this returns. */
  readonly queued: () => unknown;
  readonly ended: (batch: EndedBatch) => void;
}

/** A batch of entries that was committed, or could not be. */
export interface EndedBatch {
  readonly entries: number;
  readonly seconds: number;
  readonly committed: boolean;
  /** What `queued` returned for each entry. */
  readonly marks: readonly unknown[];
}

interface Pending {
  readonly key: Uint8Array;
  readonly candidate: Candidate;
  /** TLS bytes of its entry. */
  readonly signedEntry: Uint8Array;
  readonly sequenced: (placed: Placed) => void;
  readonly resolve: (placed: Placed) => void;
  readonly reject: (error: unknown) => void;
  readonly mark: unknown;
}

/** Entries of one batch: keeps a stage to a few megabytes and the queue moving. */
const maxBatch = 1024;
const maxReopenDelayMs = 10_000;

/**
 * Group commit: while one batch is being committed the next one gathers, and an idle log commits at once; a busy one gathers
 * for ten milliseconds. Also gives a repeated submission the placement of the first, signs an idle head again, and restarts a
 * stopped writer.
 */
export class Sequencer {
  readonly #options: SequencerOptions;
  readonly #gathering: Gathering;
  #queue: Pending[] = [];
  /** Every entry that is pending or in commit, by dedupe key. */
  readonly #inFlight = new Map<string, Promise<Placed>>();
  #running: Promise<void> | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #reopenTimer: NodeJS.Timeout | undefined;
  #reopenDelayMs: number;
  #wanted = { resign: false, reopen: false };
  #closed = false;

  constructor(options: SequencerOptions) {
    this.#options = options;
    this.#reopenDelayMs = options.reopenDelayMs;
    this.#gathering = new Gathering({ ...options, maxBatch });
    this.#armIdleTimer();
  }

  /**
   * Resolves with the entry's place once it is durable and committed, from which on readers find it. `sequenced` is called earlier, when
   * the place is known but promised to nobody; not at all for a repeated submission.
   *
   * Throws AppError OVERLOADED when the queue is full, SHUTTING_DOWN, or CT_LOG_UNAVAILABLE.
   */
  async add(candidate: Candidate, sequenced: (placed: Placed) => void): Promise<Placed> {
    if (this.#closed) throw new AppError('SHUTTING_DOWN', 'the log takes no more entries', { retryAfterSeconds: 5 });
    const signedEntry = encodeSignedEntry(candidate.entry);
    const key = dedupeKeyOf(signedEntry);
    const name = Buffer.from(key).toString('latin1');
    const known = this.#inFlight.get(name) ?? this.#options.index.find(key);
    if (known !== undefined) return known;
    this.#requireRoom();
    const placed = new Promise<Placed>((resolve, reject) => {
      const mark = this.#options.commits?.queued();
      this.#queue.push({ key, candidate, signedEntry, sequenced, resolve, reject, mark });
    });
    this.#inFlight.set(name, placed);
    this.#gathering.joined(this.#queue.length);
    this.#start();
    try {
      return await placed;
    } finally {
      this.#inFlight.delete(name);
    }
  }

  /** Entries that wait for the next batch. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** The writer stopped: read its storage again in a while. */
  scheduleReopen(): void {
    if (this.#closed || this.#reopenTimer !== undefined) return;
    this.#reopenTimer = setTimeout(() => {
      this.#reopenTimer = undefined;
      this.#wanted.reopen = true;
      this.#start();
    }, this.#reopenDelayMs).unref();
  }

  /** Takes nothing more, and resolves when what was taken is committed or refused. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#gathering.close();
    clearInterval(this.#idleTimer);
    clearTimeout(this.#reopenTimer);
    await this.#running;
  }

  #requireRoom(): void {
    const ready = this.#options.writer.readiness();
    if (!ready.ok) throw new AppError('CT_LOG_UNAVAILABLE', ready.reason, { retryAfterSeconds: 2 });
    if (this.#queue.length < this.#options.maxPending) return;
    const detail = `${this.#queue.length} entries are waiting to be logged, as many as this log lets wait`;
    throw new AppError('OVERLOADED', detail, { retryAfterSeconds: 1 });
  }

  #start(): void {
    // After the current turn of the event loop, so that requests which arrived together share a commit.
    this.#running ??= new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => this.#run())
      .finally(() => {
        this.#running = undefined;
        if (this.#hasWork()) this.#start();
      });
  }

  #hasWork(): boolean {
    return this.#queue.length > 0 || this.#wanted.resign || this.#wanted.reopen;
  }

  /** Never rejects: every failure has been given to those who wait for it, or to the log. */
  async #run(): Promise<void> {
    while (this.#hasWork()) {
      const { reopen, resign } = this.#wanted;
      this.#wanted = { resign: false, reopen: false };
      if (reopen) await this.#reopen();
      await this.#gathering.batch(() => this.#queue.length);
      const batch = this.#queue.splice(0, maxBatch);
      if (batch.length > 0) await this.#commit(batch);
      else if (resign) await this.#resign();
    }
  }

  async #commit(batch: readonly Pending[]): Promise<void> {
    const started = performance.now();
    const ended = (committed: boolean): void => {
      const seconds = (performance.now() - started) / 1000;
      const marks = batch.map(({ mark }) => mark);
      this.#options.commits?.ended({ entries: batch.length, seconds, committed, marks });
    };
    try {
      await this.#storeIssuers(batch);
      const entries: IndexEntry[] = [];
      await this.#options.writer.append((placement) =>
        batch.map((pending, i) => place(pending, i, placement, entries)),
      );
      // From here on the entries are promised; a failing index is its own matter (see `failed` in its options).
      await this.#options.index.add(entries).catch(() => {});
      batch.forEach((pending, i) => {
        const entry = entries[i];
        if (entry !== undefined) pending.resolve({ index: entry.index, timestamp: entry.timestamp });
      });
      ended(true);
    } catch (error) {
      ended(false);
      for (const pending of batch) pending.reject(error);
    }
  }

  async #storeIssuers(batch: readonly Pending[]): Promise<void> {
    const { issuers, writer } = this.#options;
    try {
      await issuers.store(batch.map((pending) => pending.candidate.issuers));
    } catch (cause) {
      writer.halt('the log could not store an issuer certificate', cause);
      throw new AppError('CT_LOG_UNAVAILABLE', 'the log could not store an issuer certificate', {
        cause,
        retryAfterSeconds: 2,
      });
    }
  }

  async #resign(): Promise<void> {
    try {
      await this.#options.writer.resign();
    } catch (error) {
      this.#options.logger.warn({ err: error }, `the tree head could not be signed again: ${messageOf(error)}`);
    }
  }

  async #reopen(): Promise<void> {
    const { writer, index, tiles, logger } = this.#options;
    if (!writer.stopped) return;
    try {
      await writer.reopen();
      await index.catchUp(writer.head.size, tiles);
      this.#answerKnown();
      this.#reopenDelayMs = this.#options.reopenDelayMs;
      logger.info({ size: writer.head.size }, 'the log has read its storage again and goes on');
    } catch (error) {
      this.#slowDown(error);
      if (!writer.stopped) writer.halt('the index of the log cannot be brought up to date', error);
      logger.error({ err: error }, `the log stays stopped: ${messageOf(error)}`);
      this.scheduleReopen();
    }
  }

  /** Longer pauses spare a storage that is in trouble. A writer that was replaced is a standby, and asks in step. */
  #slowDown(error: unknown): void {
    const { reopenDelayMs } = this.#options;
    const isStandby = error instanceof CheckpointConflict;
    this.#reopenDelayMs = isStandby ? reopenDelayMs : Math.min(this.#reopenDelayMs * 2, maxReopenDelayMs);
  }

  /** What was queued while the index was incomplete may be in the log already. */
  #answerKnown(): void {
    this.#queue = this.#queue.filter((pending) => {
      const known = this.#options.index.find(pending.key);
      if (known !== undefined) pending.resolve(known);
      return known === undefined;
    });
  }

  #armIdleTimer(): void {
    const { resignIntervalMs, writer, clock } = this.#options;
    const check = () => {
      const age = clock() - writer.head.timestamp;
      if (writer.stopped || age < resignIntervalMs) return;
      this.#wanted.resign = true;
      this.#start();
    };
    this.#idleTimer = setInterval(check, Math.min(resignIntervalMs, 60_000)).unref();
    check();
  }
}

function place(pending: Pending, i: number, { timestamp, firstIndex }: Placement, entries: IndexEntry[]) {
  const index = firstIndex + i;
  pending.sequenced({ index, timestamp });
  const leaf = sequencedLeaf(pending.candidate, index, timestamp, pending.signedEntry);
  entries.push({ index, timestamp, key: pending.key, leafHash: leaf.hash });
  return leaf;
}
