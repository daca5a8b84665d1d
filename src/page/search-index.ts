import { rmSync } from 'node:fs';
import { setImmediate as breathe, setTimeout as sleep } from 'node:timers/promises';
import { open, type RootDatabase } from 'lmdb';
import { z } from 'zod';
import type { LogReads } from '../ctlog/reads.js';
import { tileWidth } from '../ctlog/tiles.js';
import { committed, lmdbOptions } from '../lmdb.js';
import { termBytes, termsOf } from './search-terms.js';

/** The part of the log that a search can find something in: entries `from` up to and without `to`. */
export interface Searched {
  readonly from: number;
  readonly to: number;
}

export interface SearchIndexOptions {
  /** Of a cache that is made again when it is lost, or of another log. */
  readonly directory: string;
  /** Hexadecimal; tells this log from every other one. */
  readonly logId: string;
  readonly reads: Pick<LogReads, 'treeHead' | 'entries'>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Told what ended the work in the background; the next search takes it up again. */
  readonly failed: (error: unknown) => void;
}

/** Entries that are read between two breaths: about half a millisecond of work. */
const slice = 8;
/** In the background it rests nine times as long as it works, so it takes a tenth of a core at most. */
const restPerWork = 9;
/** Without a search for so long it stops: nobody is looking, and issuance has the machine to itself. */
const restAfterMs = 10 * 60 * 1000;
const indexBytes = 5;
/** Rows that are gathered for one transaction while nobody waits: each costs an fsync, and the log needs the disk. */
const maxRows = 32_768;
const nothing = Buffer.alloc(0);
const metaKey = Buffer.from('m');

const coverage = z.object({ logId: z.string(), from: z.int().nonnegative(), to: z.int().nonnegative() });

/**
 * Terms → entries of a log, in LMDB. Nothing is done for it when a certificate is issued: it begins with the first
 * search, takes the newest entries first, and goes on behind while somebody searches.
 */
export class SearchIndex {
  readonly #options: SearchIndexOptions;
  readonly #db: RootDatabase<Buffer, Buffer>;
  #searched: Searched;
  /** How far it has come with what is not written yet, and that. */
  #reached: Searched;
  #rows: Buffer[] = [];
  #running: Promise<void> | undefined;
  /** Searches that wait: while there are any it does not rest. */
  #waiting = 0;
  #usedAt = 0;
  #closed = false;

  private constructor(options: SearchIndexOptions, db: RootDatabase<Buffer, Buffer>, searched: Searched) {
    this.#options = options;
    this.#db = db;
    this.#searched = searched;
    this.#reached = searched;
  }

  /** Opens the index, thrown away before if it is of another log; throws what LMDB throws. */
  static async open(options: SearchIndexOptions): Promise<SearchIndex> {
    const db = openDatabase(options.directory);
    const found = readCoverage(db, options);
    if (found !== undefined) return new SearchIndex(options, db, found);
    const { size } = options.reads.treeHead();
    return new SearchIndex(options, await emptied(db, options.directory), { from: size, to: size });
  }

  get searched(): Searched {
    return this.#searched;
  }

  /** Gives the index up to `ms` to take in what it has not seen, and lets it go on in the background. */
  async catchUp(ms: number): Promise<void> {
    this.#usedAt = this.#options.clock();
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    const enough = new AbortController();
    this.#waiting += 1;
    try {
      await Promise.race([this.#running, sleep(ms, undefined, { signal: enough.signal }).catch(() => {})]);
    } finally {
      this.#waiting -= 1;
      enough.abort();
    }
  }

  /** Indexes below `before` of the entries with one of these terms, newest first, at most `limit`. */
  find(terms: readonly Uint8Array[], before: number, limit: number): number[] {
    if (before <= 0) return [];
    const found = terms.flatMap((term) => {
      const range = { start: rowKey(term, before - 1), end: Buffer.from(term), reverse: true, limit };
      return [...this.#db.getKeys(range)].map((key) => key.readUIntBE(termBytes, indexBytes));
    });
    return [...new Set(found)].sort((a, b) => b - a).slice(0, limit);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
    await this.#db.close();
  }

  async #run(): Promise<void> {
    try {
      for (let range = this.#next(); range !== undefined; range = this.#next()) {
        await this.#take(range);
        if (this.#waiting > 0 || this.#rows.length >= maxRows) await this.#write();
      }
      await this.#write();
    } catch (error) {
      this.#rows = [];
      this.#reached = this.#searched;
      this.#options.failed(error);
    }
  }

  /** The next entries to take in, within one tile: new ones first, then older ones. */
  #next(): Searched | undefined {
    if (this.#closed || this.#options.clock() - this.#usedAt > restAfterMs) return undefined;
    const { from, to } = this.#reached;
    const { size } = this.#options.reads.treeHead();
    if (to < size) return { from: to, to: Math.min(size, (Math.floor(to / tileWidth) + 1) * tileWidth) };
    return from > 0 ? { from: Math.floor((from - 1) / tileWidth) * tileWidth, to: from } : undefined;
  }

  async #take(range: Searched): Promise<void> {
    const asked = performance.now();
    const entries = await this.#options.reads.entries(range.from, range.to - 1);
    await this.#rest(asked);
    const rows: Buffer[] = [];
    for (let at = 0; at < entries.length; at += slice) {
      if (this.#closed) return;
      const started = performance.now();
      entries.slice(at, at + slice).forEach((entry, i) => {
        for (const term of termsOf(entry)) rows.push(rowKey(term, range.from + at + i));
      });
      await this.#rest(started);
    }
    if (entries.length === 0) throw new Error(`the log gave no entries from ${range.from} on`);
    const { from, to } = this.#reached;
    const end = range.from + entries.length;
    this.#reached = range.from >= to ? { from, to: end } : { from: range.from, to };
    this.#rows.push(...rows);
  }

  async #rest(since: number): Promise<void> {
    if (this.#waiting > 0) await breathe();
    else await sleep((performance.now() - since) * restPerWork, undefined, { ref: false });
  }

  /** What was taken in, and how far it reaches, in one transaction. */
  async #write(): Promise<void> {
    const [rows, reached] = [this.#rows, this.#reached];
    if (rows.length === 0 && reached === this.#searched) return;
    this.#rows = [];
    await committed(
      this.#db.batch(() => {
        for (const row of rows) void this.#db.put(row, nothing);
        void this.#db.put(metaKey, Buffer.from(JSON.stringify({ logId: this.#options.logId, ...reached })));
      }),
    );
    this.#searched = reached;
  }
}

function rowKey(term: Uint8Array, index: number): Buffer {
  const key = Buffer.alloc(termBytes + indexBytes);
  key.set(term);
  key.writeUIntBE(index, termBytes, indexBytes);
  return key;
}

/** Undefined when the index is of another log, or of one that had more entries. */
function readCoverage(db: RootDatabase<Buffer, Buffer>, { logId, reads }: SearchIndexOptions): Searched | undefined {
  const bytes = db.get(metaKey);
  try {
    const found = coverage.parse(JSON.parse(bytes?.toString('utf8') ?? ''));
    const isOurs = found.logId === logId && found.from <= found.to && found.to <= reads.treeHead().size;
    return isOurs ? { from: found.from, to: found.to } : undefined;
  } catch {
    return undefined;
  }
}

async function emptied(db: RootDatabase<Buffer, Buffer>, directory: string): Promise<RootDatabase<Buffer, Buffer>> {
  if (db.getKeysCount({ limit: 1 }) === 0) return db;
  await db.close();
  rmSync(directory, { recursive: true, force: true });
  return openDatabase(directory);
}

function openDatabase(directory: string): RootDatabase<Buffer, Buffer> {
  const form = { keyEncoding: 'binary', encoding: 'binary', noSubdir: false } as const;
  return open<Buffer, Buffer>({ path: directory, ...form, ...lmdbOptions });
}
