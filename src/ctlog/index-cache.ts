import { rmSync } from 'node:fs';
import { open, type RootDatabase } from 'lmdb';
import { messageOf } from '../errors.js';
import { committed, lmdbOptions } from '../lmdb.js';
import { buildIndex } from './index-build.js';
import { type Hash, sameHash } from './merkle.js';
import { type DecodedLeaf, hashOf } from './tile-leaf.js';
import type { TileReader } from './tile-reader.js';
import { tileWidth } from './tiles.js';
import type { LogLogger } from './writer.js';

/** Where an entry is and when it was promised: what a second submission of it is answered with. */
export interface Placed {
  readonly index: number;
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
}

/** An entry as the index keeps it. */
export interface IndexEntry extends Placed {
  /** `dedupeKey` of its SignedEntry. */
  readonly key: Uint8Array;
  readonly leafHash: Hash;
}

export interface IndexCacheOptions {
  readonly directory: string;
  readonly logId: Uint8Array;
  readonly logger: LogLogger;
  /** Key under which a stored leaf is looked up. */
  readonly keyOf: (leaf: DecodedLeaf) => Uint8Array;
  /** Called when LMDB could not write; the entries in question are found until the next `catchUp`. */
  readonly failed: (error: unknown) => void;
  /** More entries than this that are missing are added behind, while the log is open; 20,000 unless told. */
  readonly maxCatchUp?: number;
}

/** What the index was built for, and how far. */
interface Coverage {
  readonly size: number;
  /** Hash of leaf size - 1: an index with another one is of another history. */
  readonly last: Hash;
}

const defaultMaxCatchUp = 20_000;
/** More rows than this waiting for LMDB, and the writer waits for it. */
const maxWaiting = 50_000;
/** LMDB is written when so many rows have gathered, or after this time: each of its commits costs an fsync. */
const batchRows = 4096;
const batchDelayMs = 250;
const metaKey = Buffer.from('m');
const bytesOf = { placed: 11, meta: 32 + 6 + 32 } as const;

/**
 * Dedupe key → placement and leaf hash → index, in LMDB: a cache that can be rebuilt from the tiles, and is whenever it
 * does not fit the tree. Writes happen behind; lookups see them at once.
 *
 * An index that lacks many entries is built while the log is in use, and does not find all of the older ones until then:
 * an entry that is submitted again is logged a second time, which RFC 6962 allows, and a proof by hash has to wait.
 */
export class IndexCache {
  readonly #options: IndexCacheOptions;
  #db: RootDatabase<Buffer, Buffer>;
  readonly #waiting = new Map<string, Buffer>();
  #size = 0;
  #incomplete = false;
  #build: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;
  /** Rows that no write has taken yet; they are in `#waiting` too. */
  #gathered: Row[] = [];
  #last: Hash | undefined;
  #metaBehind = false;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(options: IndexCacheOptions) {
    this.#options = options;
    this.#db = openDatabase(options.directory);
  }

  /** Opens the index and brings it up to the tree of `size`, behind if that takes long; throws what storage or LMDB throw. */
  static async open(options: IndexCacheOptions, size: number, tiles: TileReader): Promise<IndexCache> {
    const cache = new IndexCache(options);
    await cache.catchUp(size, tiles);
    return cache;
  }

  /** The tree size. */
  get size(): number {
    return this.#size;
  }

  /** Whether entries before the opening may not be found yet. */
  get building(): boolean {
    return this.#incomplete;
  }

  /** Resolves when all entries are in LMDB, or when the index was closed; rejects when it could not be built. */
  async complete(): Promise<void> {
    await this.#build?.done;
    await this.flush();
  }

  find(key: Uint8Array): Placed | undefined {
    const value = this.#get('d', key);
    return value && { index: value.readUIntBE(0, 5), timestamp: value.readUIntBE(5, 6) };
  }

  indexOf(leafHash: Hash): number | undefined {
    return this.#get('h', leafHash)?.readUIntBE(0, 5);
  }

  /**
   * Takes the next entries, in order and without a gap. They are found at once; resolves at once too, unless LMDB is
   * far behind. Rejects when LMDB could not write.
   */
  async add(entries: readonly IndexEntry[]): Promise<void> {
    const last = entries.at(-1);
    if (last === undefined) return;
    this.#size = last.index + 1;
    this.#last = last.leafHash;
    for (const entry of entries) {
      for (const row of rowsOf(entry)) {
        this.#gathered.push(row);
        this.#waiting.set(nameOf(row[0]), row[1]);
      }
    }
    if (this.#gathered.length >= batchRows) this.#startWrite();
    else this.#timer ??= setTimeout(() => this.#startWrite(), batchDelayMs).unref();
    if (this.#waiting.size > maxWaiting) await this.#writing;
  }

  /** Resolves when everything added is in LMDB; rejects when a write failed. */
  async flush(): Promise<void> {
    this.#startWrite();
    await this.#writing;
  }

  /** Everything gathered in one transaction, together with how far the index reaches then. */
  #startWrite(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#last === undefined || (this.#gathered.length === 0 && !this.#metaBehind)) return;
    const rows = this.#gathered;
    // While older entries are missing, how far it reaches is the build's to say.
    if (!this.building) rows.push([metaKey, this.#meta({ size: this.#size, last: this.#last })]);
    this.#gathered = [];
    this.#metaBehind = false;
    this.#writing = Promise.all([this.#writing, this.#write(rows)]);
    this.#writing.catch(this.#options.failed);
  }

  /** Reads what the index has not seen from the data tiles, behind if it is much; starts over when it is of another tree. */
  async catchUp(size: number, tiles: TileReader): Promise<void> {
    await this.#stopBuild();
    await this.#writing.catch(() => {});
    this.#writing = Promise.resolve();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#gathered = [];
    this.#waiting.clear();
    this.#incomplete = false;
    this.#size = await this.#usableSize(size, tiles);
    if (size - this.#size > (this.#options.maxCatchUp ?? defaultMaxCatchUp)) {
      this.#startBuild(size, tiles);
      return;
    }
    while (this.#size < size) {
      const tile = Math.floor(this.#size / tileWidth);
      const leaves = await tiles.leaves(size, tile);
      const fresh = leaves.slice(this.#size - tile * tileWidth);
      await this.add(fresh.map((leaf, i) => this.#entryOf(leaf, this.#size + i)));
    }
    await this.flush();
  }

  async close(): Promise<void> {
    await this.#stopBuild();
    this.#startWrite();
    await this.#writing.catch(() => {});
    await this.#db.close();
  }

  #startBuild(size: number, tiles: TileReader): void {
    const { logger, failed } = this.#options;
    const stop = new AbortController();
    let done = this.#size;
    this.#incomplete = true;
    this.#size = size;
    const take = async (leaves: readonly DecodedLeaf[], first: number) => {
      const entries = leaves.map((leaf, i) => this.#entryOf(leaf, first + i));
      const last = entries.at(-1);
      if (last === undefined) return;
      // In order, so that a page of LMDB is written once.
      const rows = entries.flatMap(rowsOf).sort(([a], [b]) => Buffer.compare(a, b));
      await this.#write([...rows, [metaKey, this.#meta({ size: last.index + 1, last: last.leafHash })]]);
      done = last.index + 1;
    };
    const finish = async () => {
      await buildIndex({ tiles, size, done: () => done, take, logger, signal: stop.signal });
      if (stop.signal.aborted) return;
      this.#incomplete = false;
      // What was added meanwhile has been written without saying how far the index reaches.
      this.#metaBehind = true;
      await this.flush();
    };
    const work = finish();
    work.catch(failed);
    this.#build = { stop, done: work };
  }

  async #stopBuild(): Promise<void> {
    this.#build?.stop.abort();
    await this.#build?.done.catch(() => {});
    this.#build = undefined;
  }

  #entryOf(leaf: DecodedLeaf, index: number): IndexEntry {
    const timestamp = Number(leaf.timestampedEntry.timestamp);
    return { index, timestamp, key: this.#options.keyOf(leaf), leafHash: hashOf(leaf) };
  }

  async #usableSize(size: number, tiles: TileReader): Promise<number> {
    const coverage = this.#coverage();
    if (coverage === undefined && this.#db.getKeysCount({ limit: 1 }) === 0) return 0;
    if (coverage !== undefined && coverage.size <= size) {
      if (coverage.size === 0 || sameHash(await tiles.nodes(size)(0, coverage.size - 1), coverage.last)) {
        return coverage.size;
      }
    }
    const found = coverage === undefined ? 'it is of another log' : `it covers ${coverage.size} other entries`;
    await this.#startOver(`${found}; the log has ${size}`);
    return 0;
  }

  #coverage(): Coverage | undefined {
    const meta = this.#db.get(metaKey);
    if (meta?.length !== bytesOf.meta || !sameHash(meta.subarray(0, 32), this.#options.logId)) return undefined;
    return { size: meta.readUIntBE(32, 6), last: Buffer.from(meta.subarray(38)) };
  }

  async #startOver(reason: string): Promise<void> {
    this.#options.logger.warn({ reason }, 'the index of the log is thrown away and built again');
    await this.#db.close();
    rmSync(this.#options.directory, { recursive: true, force: true });
    this.#db = openDatabase(this.#options.directory);
  }

  #meta({ size, last }: Coverage): Buffer {
    const bytes = Buffer.alloc(6);
    bytes.writeUIntBE(size, 0, 6);
    return Buffer.concat([this.#options.logId, bytes, last]);
  }

  #get(kind: 'd' | 'h', key: Uint8Array): Buffer | undefined {
    const full = Buffer.concat([Buffer.from(kind), key]);
    return this.#waiting.get(nameOf(full)) ?? this.#db.get(full);
  }

  async #write(rows: readonly Row[]): Promise<void> {
    try {
      await committed(
        this.#db.batch(() => {
          for (const [key, value] of rows) void this.#db.put(key, value);
        }),
      );
    } catch (cause) {
      throw new Error(`the index of the log cannot be written: ${messageOf(cause)}`, { cause });
    }
    for (const [key, value] of rows) {
      const name = nameOf(key);
      if (this.#waiting.get(name) === value) this.#waiting.delete(name);
    }
  }
}

type Row = readonly [key: Buffer, value: Buffer];

function rowsOf(entry: IndexEntry): Row[] {
  const value = Buffer.alloc(bytesOf.placed);
  value.writeUIntBE(entry.index, 0, 5);
  value.writeUIntBE(entry.timestamp, 5, 6);
  return [
    [Buffer.concat([Buffer.from('d'), entry.key]), value],
    [Buffer.concat([Buffer.from('h'), entry.leafHash]), value.subarray(0, 5)],
  ];
}

/** A map key of the bytes: one character a byte. */
function nameOf(key: Buffer): string {
  return key.toString('latin1');
}

function openDatabase(directory: string): RootDatabase<Buffer, Buffer> {
  const form = { keyEncoding: 'binary', encoding: 'binary', noSubdir: false } as const;
  return open<Buffer, Buffer>({ path: directory, ...form, ...lmdbOptions });
}
