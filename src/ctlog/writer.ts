import type { Logger } from 'pino';
import type { Readiness } from '../ct/log.js';
import { AppError, messageOf } from '../errors.js';
import { formatCheckpoint, type SignedTreeHead, signTreeHead } from './checkpoint.js';
import { edgeRoot, extendEdge, partsOf } from './edge.js';
import { Flusher } from './flusher.js';
import { Publisher } from './publisher.js';
import { type LogIdentity, type LogState, recover } from './recovery.js';
import { encodeStage, stageName } from './stage.js';
import type { LogReader, LogStorage } from './storage.js';
import type { EncodedLeaf } from './tile-leaf.js';
import { unwrittenTiles } from './unwritten-tiles.js';

export type LogLogger = Pick<Logger, 'info' | 'warn' | 'error'>;

export interface WriterOptions {
  readonly storage: LogStorage;
  readonly identity: LogIdentity;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly logger: LogLogger;
  /** Rest between two publications of tiles and checkpoint. */
  readonly publishDelayMs: number;
  readonly flushDelayMs: number;
  /** Called with the reason when the writer stops. */
  readonly onStop: () => void;
}

/** Where a batch was put. */
export interface Placement {
  /** Milliseconds since the epoch: of the tree head and of each entry. */
  readonly timestamp: number;
  readonly firstIndex: number;
}

/** Tree heads may run this far ahead of the clock, so that commits faster than its millisecond stay distinct. */
const aheadMs = 20;
/** The longest wait for a clock that is a little behind. */
const patienceMs = 100;
/** A timer may fire a little before the clock has got so far. */
const maxWaits = 5;
/** A commit or publication that takes longer than this makes the log count as not ready. */
const slowMs = 10_000;

/**
 * The log's one writer: turns a batch of leaves into a committed, published tree head, in the order DESIGN.md promises.
 *
 * Any failure stops it, because after a failed step it cannot know what the storage holds; `reopen` reloads that and
 * starts it again. Not reentrant: one `append`, `resign` or `reopen` at a time.
 */
export class Writer {
  readonly #options: WriterOptions;
  /** Tiles and checkpoint as the committed tree has them, whether they are written out by now or not. */
  readonly files: LogReader;
  #publisher: Publisher;
  #state: LogState;
  #stopped: string | undefined;
  /** Start of the commit under way; on the monotonic clock, because the other one may be set. */
  #busySince: number | undefined;

  private constructor(options: WriterOptions, state: LogState) {
    this.#options = options;
    this.#state = state;
    this.#publisher = this.#newPublisher();
    this.files = unwrittenTiles(options.storage, {
      checkpoint: () => this.#state.checkpoint,
      parts: (kind, index, path) => this.#publisher.unpublished(path)?.parts ?? partsOf(this.#state.edge, kind, index),
    });
  }

  /** Recovers the log in `options.storage`; throws AppError STARTUP as `recover` does. */
  static async open(options: WriterOptions): Promise<Writer> {
    return new Writer(options, await recover(options.storage, options.identity, options.clock()));
  }

  /** The newest tree head, which is committed and durable, so that anybody may see it. */
  get head(): SignedTreeHead {
    return this.#state.head;
  }

  get stopped(): boolean {
    return this.#stopped !== undefined;
  }

  /** Whether an `append` now would be tried. */
  readiness(): Readiness {
    if (this.#stopped !== undefined) return { ok: false, reason: this.#stopped };
    const committingMs = this.#busySince === undefined ? 0 : performance.now() - this.#busySince;
    const waitingMs = Math.round(Math.max(committingMs, this.#publisher.behindMs()));
    if (waitingMs > slowMs)
      return { ok: false, reason: `a write to the log's storage has taken ${waitingMs} ms so far` };
    const behind = this.#state.head.timestamp - this.#options.clock();
    return behind > patienceMs ? { ok: false, reason: clockBehind(behind) } : { ok: true };
  }

  /**
   * Sequences and commits one batch. `build` gets its placement and makes the leaves from it. Resolves when the entries
   * are durable and committed, and `files` has them; throws AppError CT_LOG_UNAVAILABLE otherwise, and then each entry may or may
   * not have been committed.
   */
  async append(build: (placement: Placement) => readonly EncodedLeaf[]): Promise<Placement> {
    this.#requireRunning();
    const timestamp = await this.#nextTimestamp();
    const placement = { timestamp, firstIndex: this.#state.head.size };
    const leaves = build(placement);
    await this.#orStop('commit a batch', () => this.#commit(leaves, timestamp));
    return placement;
  }

  /** Signs and publishes the same tree under a new timestamp, so that an idle log's head is never older than its MMD. */
  async resign(): Promise<void> {
    this.#requireRunning();
    const timestamp = await this.#nextTimestamp();
    await this.#orStop('sign the tree head again', async () => {
      const { checkpoint: old, edge } = this.#state;
      const { head, checkpoint } = this.#sign(edge.peaks.size, edgeRoot(edge), timestamp);
      await this.#options.storage.replaceCheckpoint(old, checkpoint);
      this.#state = { head, checkpoint, edge };
      this.#publisher.add({ checkpoint });
    });
  }

  /** After a stop: reloads the state from the storage. Throws what `recover` throws, and stays stopped. */
  async reopen(): Promise<void> {
    await this.#publisher.abandon();
    const { storage, identity, clock } = this.#options;
    this.#state = await recover(storage, identity, clock());
    this.#publisher = this.#newPublisher();
    this.#stopped = undefined;
  }

  /** Stops the writer for a failure outside it, for example of the index. */
  halt(reason: string, error: unknown): void {
    this.#stop(reason, error);
  }

  /** Publishes everything and makes it durable; a stopped writer leaves that to the next recovery. */
  async close(): Promise<void> {
    if (this.#stopped === undefined) await this.#publisher.drain();
    else await this.#publisher.abandon();
  }

  async #commit(leaves: readonly EncodedLeaf[], timestamp: number): Promise<void> {
    const { storage } = this.#options;
    await this.#publisher.room();
    const { head: oldHead, checkpoint: old, edge } = this.#state;
    const growth = extendEdge(edge, leaves);
    const { head, checkpoint } = this.#sign(growth.edge.peaks.size, edgeRoot(growth.edge), timestamp);
    const tree = { oldSize: oldHead.size, oldRoot: oldHead.root, newSize: head.size, newRoot: head.root };
    const name = stageName(tree);
    const stage = encodeStage({ ...tree, checkpoint, leaves: leaves.map((leaf) => leaf.bytes) });
    await storage.stage(name, stage);
    await storage.replaceCheckpoint(old, checkpoint);
    this.#state = { head, checkpoint, edge: growth.edge };
    this.#publisher.add({ checkpoint, batch: { growth, stage: name, bytes: stage.length, entries: leaves.length } });
  }

  #sign(size: number, root: Uint8Array, timestamp: number): { head: SignedTreeHead; checkpoint: Uint8Array } {
    const head = signTreeHead({ size, root, timestamp }, this.#options.identity.privateKey);
    return { head, checkpoint: formatCheckpoint(head, this.#options.identity) };
  }

  /** Later than the last head (RFC 6962 Section 3.5); throws when the clock is too far behind it. */
  async #nextTimestamp(): Promise<number> {
    const { clock } = this.#options;
    const least = this.#state.head.timestamp + 1;
    for (let waits = 0; ; waits += 1) {
      const now = clock();
      const behind = least - now;
      if (behind <= aheadMs) return Math.max(least, now);
      if (behind > patienceMs || waits === maxWaits) throw unavailable(clockBehind(behind), undefined);
      await new Promise((done) => setTimeout(done, behind - aheadMs));
    }
  }

  #requireRunning(): void {
    if (this.#stopped !== undefined) throw unavailable(this.#stopped, undefined);
  }

  async #orStop(doing: string, step: () => Promise<void>): Promise<void> {
    this.#busySince = performance.now();
    try {
      await step();
    } catch (error) {
      this.#stop(`the log could not ${doing}`, error);
      throw unavailable(this.#stopped ?? '', error);
    } finally {
      this.#busySince = undefined;
    }
  }

  #stop(reason: string, error: unknown): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = `${reason}; it has stopped until its storage has been read again`;
    this.#options.logger.error({ err: error, log: this.#options.identity.origin }, `${reason}: ${messageOf(error)}`);
    this.#options.onStop();
  }

  #newPublisher(): Publisher {
    const { storage, publishDelayMs, flushDelayMs } = this.#options;
    return new Publisher({
      storage,
      flusher: new Flusher({
        storage,
        delayMs: flushDelayMs,
        failed: (error) => this.#stop('the log could not make its tiles durable', error),
      }),
      delayMs: publishDelayMs,
      failed: (error) => this.#stop('the log could not publish its tiles', error),
    });
  }
}

function clockBehind(ms: number): string {
  return `the clock is ${ms} ms behind the last tree head; the log waits until it has caught up`;
}

function unavailable(reason: string, cause: unknown): AppError {
  return new AppError('CT_LOG_UNAVAILABLE', reason, {
    retryAfterSeconds: 2,
    ...(cause === undefined ? {} : { cause }),
  });
}
