import type { Growth, TileWrite } from './edge.js';
import type { Flusher } from './flusher.js';
import type { LogStorage } from './storage.js';
import { fullTilePath } from './tiles.js';

/** What a commit left to be published. */
export interface Committed {
  readonly checkpoint: Uint8Array;
  /** What the tree grew by, and the stage that makes up for it if it is lost; undefined for a head signed again. */
  readonly batch?: {
    readonly growth: Growth;
    readonly stage: string;
    readonly bytes: number;
    readonly entries: number;
  };
}

export interface PublisherOptions {
  readonly storage: LogStorage;
  readonly flusher: Flusher;
  /** From the end of one publication to the next. */
  readonly delayMs: number;
  /** Called once with the error when a publication failed: from then on nothing is known about what is visible. */
  readonly failed: (error: unknown) => void;
}

/** More entries than this and the writer waits, which bounds the memory that they take. */
const maxEntries = 8192;

/**
 * Writes out what was committed, tiles before the checkpoint that needs them: at once when it has rested, otherwise
 * everything since in one go, so that a partial tile is not written for every entry that it grows by. Hands what it
 * wrote to the flusher. Nothing is lost with it: a committed batch is in its stage until its tiles are durable.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  /** By the path of the full tile, the newest version. */
  #tiles = new Map<string, TileWrite>();
  /** Being written; readers find them here until they are visible. */
  #writing: ReadonlyMap<string, TileWrite> = new Map();
  #filled: string[] = [];
  #stages: string[] = [];
  /** Of those stages. */
  #bytes = 0;
  #checkpoint: Uint8Array | undefined;
  #entries = 0;
  /** When the oldest commit that is not visible was added. */
  #behindSince: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #failure: Error | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** The newest version of a tile that is not visible in the storage yet, if there is one. */
  unpublished(fullPath: string): TileWrite | undefined {
    return this.#tiles.get(fullPath) ?? this.#writing.get(fullPath);
  }

  /** For how long, in milliseconds, something committed has waited to be visible. */
  behindMs(): number {
    return this.#behindSince === undefined ? 0 : performance.now() - this.#behindSince;
  }

  /** Resolves when the writer may commit more: at once unless the publication is far behind. Rejects when it failed. */
  async room(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#entries > maxEntries) await this.#publishAll();
  }

  /** Takes over what was committed. */
  add({ checkpoint, batch }: Committed): void {
    this.#checkpoint = checkpoint;
    this.#behindSince ??= performance.now();
    if (batch !== undefined) {
      for (const write of batch.growth.tiles) this.#tiles.set(keyOf(write), write);
      this.#filled.push(...batch.growth.filled);
      this.#stages.push(batch.stage);
      this.#bytes += batch.bytes;
      this.#entries += batch.entries;
    }
    if (this.#timer === undefined && this.#running === undefined) void this.#publishAll().catch(() => {});
  }

  /** Resolves when everything added so far is visible and durable; rejects when it could not be made so. */
  async drain(): Promise<void> {
    await this.#publishAll();
    clearTimeout(this.#timer);
    await this.#options.flusher.drain();
  }

  /** Stops without writing more: the stages stay for recovery. Waits for what is under way. */
  async abandon(): Promise<void> {
    this.#failure ??= new Error('the publication was given up');
    clearTimeout(this.#timer);
    await this.#running?.catch(() => {});
    await this.#options.flusher.abandon();
  }

  async #publishAll(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#checkpoint === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running = this.#publish(this.#checkpoint);
    try {
      await this.#running;
    } catch (error) {
      this.#failure ??= new Error('an earlier publication of the log failed', { cause: error });
      this.#options.failed(error);
      throw error;
    } finally {
      this.#running = undefined;
    }
    this.#rest();
  }

  async #publish(checkpoint: Uint8Array): Promise<void> {
    const { storage, flusher } = this.#options;
    const [tiles, filled, stages, bytes] = [this.#tiles, this.#filled, this.#stages, this.#bytes];
    [this.#tiles, this.#filled, this.#stages, this.#checkpoint] = [new Map(), [], [], undefined];
    [this.#bytes, this.#entries] = [0, 0];
    this.#writing = tiles;
    const writes = [...tiles.values()];
    await Promise.all(writes.map(({ path, parts }) => storage.upload(path, Buffer.concat(parts))));
    await storage.publish(checkpoint);
    this.#writing = new Map();
    this.#behindSince = this.#checkpoint === undefined ? undefined : performance.now();
    if (stages.length > 0) await flusher.add({ stages, bytes, paths: writes.map(({ path }) => path), filled });
  }

  /** What comes in meanwhile is published together. */
  #rest(): void {
    if (this.#failure !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#checkpoint !== undefined) void this.#publishAll().catch(() => {});
    }, this.#options.delayMs).unref();
  }
}

function keyOf({ tile: { kind, index } }: TileWrite): string {
  return fullTilePath(kind, index);
}
