import { checkpointPath, type LogStorage } from './storage.js';

/** What one publication left to be made durable. */
export interface Unfinished {
  /** Of the batches that it published. */
  readonly stages: readonly string[];
  /** Of these stages. */
  readonly bytes: number;
  readonly paths: readonly string[];
  /** Folders of partial tiles that a full tile among `paths` supersedes. */
  readonly filled: readonly string[];
}

export interface FlusherOptions {
  readonly storage: LogStorage;
  /** How long a stage may wait for company before its tiles are flushed. */
  readonly delayMs: number;
  /** Called once with the error when a flush failed: from then on nothing is known about what is durable. */
  readonly failed: (error: unknown) => void;
}

/** More bytes of stages than this are flushed at once, which keeps the journal of a directory from filling up. */
const maxWaitingBytes = 2 * 1024 * 1024;
/** More stages than this and the writer waits, which bounds the replay after a crash. */
const maxUnflushed = 512;

/**
 * Makes the tiles of committed batches durable behind the writer's back, and only then removes the stages they were
 * written from. Because the stages are durable, the request path needs no fsync for tiles.
 */
export class Flusher {
  readonly #options: FlusherOptions;
  #waiting: Unfinished[] = [];
  /** In `#waiting`. */
  #stages = 0;
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #failed = false;

  constructor(options: FlusherOptions) {
    this.#options = options;
  }

  /** Takes over a publication whose tiles are visible; resolves at once unless too many stages are unfinished. */
  async add(unfinished: Unfinished): Promise<void> {
    this.#waiting.push(unfinished);
    this.#stages += unfinished.stages.length;
    this.#bytes += unfinished.bytes;
    if (this.#stages >= maxUnflushed) await this.drain();
    else if (this.#bytes >= maxWaitingBytes) void this.drain().catch(() => {});
    else this.#timer ??= setTimeout(() => void this.drain().catch(() => {}), this.#options.delayMs).unref();
  }

  /** Resolves when everything added so far is durable; rejects when it could not be made so. */
  async drain(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // Another drain that waited for the same flush may have begun the next one in the meantime.
    while (this.#running !== undefined) await this.#running;
    if (this.#failed) throw new Error('an earlier flush of the log failed');
    if (this.#waiting.length === 0) return;
    [this.#stages, this.#bytes] = [0, 0];
    this.#running = this.#flush(this.#waiting.splice(0));
    try {
      await this.#running;
    } catch (error) {
      this.#failed = true;
      this.#options.failed(error);
      throw error;
    } finally {
      this.#running = undefined;
    }
  }

  /** Stops without flushing: the stages stay for recovery. Waits for a flush under way. */
  async abandon(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting = [];
    this.#failed = true;
    await this.#running?.catch(() => {});
  }

  async #flush(batches: readonly Unfinished[]): Promise<void> {
    const { storage } = this.#options;
    const filled = batches.flatMap((batch) => batch.filled);
    const paths = new Set(batches.flatMap((batch) => batch.paths));
    for (const path of paths) {
      // A partial tile that is full by now is about to be removed.
      if (filled.some((directory) => path.startsWith(`${directory}/`))) paths.delete(path);
    }
    await storage.flush([...paths, checkpointPath]);
    await storage.discardStages(
      batches.flatMap((batch) => batch.stages),
      false,
    );
    await storage.discardPartials(filled);
  }
}
