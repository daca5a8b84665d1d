import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { TlsReader, uint, vector } from '../ct/tls.js';
import {
  closeFile,
  openDurable,
  paddedToPages,
  pageBytes,
  readIfExists,
  replaceFile,
  syncPath,
  writeAt,
  writeDurably,
} from './durable-file.js';

/** A stage as it lies in the journal. */
interface Entry {
  readonly sequence: number;
  readonly offset: number;
  /** Whole pages. */
  readonly length: number;
}

/**
 * Stages in one file of fixed length whose every byte was written before, so that a stage is durable after one write:
 * neither a directory nor the file's own record has to reach the disk.
 *
 * A page with a signature and a random id; a page with the lowest sequence number that is still wanted and its CRC-32;
 * then records that begin on pages: id, length of what follows, its CRC-32, sequence number, name, bytes. Space is used
 * in a circle, and what an earlier round left has lower numbers than are wanted. A torn record fails its CRC, and nobody
 * who gets bytes into the log can make up a record inside of one, because the id is the writer's secret.
 */
export class StageJournal {
  readonly #fd: number;
  readonly #id: Uint8Array;
  readonly #end: number;
  /** By stage name, oldest first. */
  readonly #entries: Map<string, Entry>;
  #sequence: number;

  private constructor(fd: number, { id, end, entries, sequence }: Found) {
    this.#fd = fd;
    this.#id = id;
    this.#end = end;
    this.#entries = entries;
    this.#sequence = sequence;
  }

  /** Opens the journal at `path`, or undefined when there is none; throws Error when the file is something else. */
  static async open(path: string): Promise<StageJournal | undefined> {
    const bytes = await readIfExists(path);
    if (bytes === undefined) return undefined;
    const found = scan(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    if (found === undefined) throw new Error(`${path} is not a journal of stages that this version can read`);
    return new StageJournal(await openDurable(path), found);
  }

  /** Makes an empty journal of `size` bytes; rejects, leaving `path` as it was, when the disk has no room for it. */
  static async create(path: string, temporary: string, size: number): Promise<StageJournal> {
    const whole = Buffer.alloc(size);
    const id = randomBytes(idBytes);
    whole.set(signature);
    whole.set(id, signature.length);
    try {
      await replaceFile(path, temporary, whole, { mode: 0o600, sync: true });
      await syncPath(dirname(path));
    } catch (error) {
      await fs.promises.rm(temporary, { force: true });
      throw error;
    }
    const fd = await openDurable(path);
    return new StageJournal(fd, { id, end: size, entries: new Map(), sequence: 0 });
  }

  names(): string[] {
    return [...this.#entries.keys()];
  }

  /** Durable when it resolves with true; false when there is no room, and then nothing was written. */
  async append(name: string, bytes: Uint8Array): Promise<boolean> {
    const sequence = this.#sequence + 1;
    const head = Buffer.concat([uint(sequence, 6), vector(Buffer.from(name), 1), uint(bytes.length, 4)]);
    const checksum = crc32(bytes, crc32(head));
    const record = paddedToPages([this.#id, uint(head.length + bytes.length, 4), uint(checksum, 4), head, bytes]);
    const offset = this.#place(record.length);
    if (offset === undefined) return false;
    // Also of a write that fails: what it left of itself must not be taken for a later one.
    this.#sequence = sequence;
    await writeDurably(this.#fd, record, offset);
    // Deleted first, so that a name that is staged again becomes the newest.
    this.#entries.delete(name);
    this.#entries.set(name, { sequence, offset, length: record.length });
    return true;
  }

  /** The bytes of a stage, or undefined when the journal has none of this name; throws when they are damaged. */
  async fetch(name: string): Promise<Uint8Array | undefined> {
    const entry = this.#entries.get(name);
    if (entry === undefined) return undefined;
    const record = Buffer.alloc(entry.length);
    await new Promise<void>((resolve, reject) => {
      fs.read(this.#fd, record, 0, record.length, entry.offset, (error) =>
        error === null ? resolve() : reject(error),
      );
    });
    const found = decodeRecord(record, this.#id);
    if (found?.name !== name) throw new Error(`stage ${name} is not where it was written in the journal`);
    return found.bytes;
  }

  /** Forgets stages, and does so durably if told; otherwise with the next record at the latest. */
  async discard(names: readonly string[], durable: boolean): Promise<void> {
    const gone = names.flatMap((name) => this.#entries.get(name) ?? []);
    if (gone.length === 0) return;
    for (const name of names) this.#entries.delete(name);
    const [oldest] = this.#entries.values();
    const wanted = uint(oldest?.sequence ?? this.#sequence + 1, 6);
    await writeAt(this.#fd, paddedToPages([uint(crc32(wanted), 4), wanted]), wantedOffset);
    if (!durable) return;
    // One that is newer than others that stay is not covered by their number.
    for (const { offset } of gone) await writeDurably(this.#fd, Buffer.alloc(pageBytes), offset);
  }

  close(): Promise<void> {
    return closeFile(this.#fd);
  }

  /** Where `length` bytes are free, behind the newest stage or, when the end is near, at the beginning again. */
  #place(length: number): number | undefined {
    const entries = [...this.#entries.values()];
    const [oldest, newest] = [entries[0], entries.at(-1)];
    const fits = (from: number, to: number) => (to - from >= length ? from : undefined);
    if (oldest === undefined || newest === undefined) return fits(firstRecord, this.#end);
    const after = newest.offset + newest.length;
    if (after <= oldest.offset) return fits(after, oldest.offset);
    return fits(after, this.#end) ?? fits(firstRecord, oldest.offset);
  }
}

const signature = Buffer.from('mayfly: stages in a circle, 1\n');
const idBytes = 16;
const wantedOffset = pageBytes;
const firstRecord = 2 * pageBytes;
const headBytes = idBytes + 4 + 4;

interface Found {
  readonly id: Uint8Array;
  readonly end: number;
  readonly entries: Map<string, Entry>;
  readonly sequence: number;
}

interface FoundRecord {
  readonly sequence: number;
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Of the record, in whole pages. */
  readonly length: number;
}

/** What a journal holds; undefined when it is none. */
function scan(file: Buffer): Found | undefined {
  if (file.length < firstRecord || Buffer.compare(file.subarray(0, signature.length), signature) !== 0)
    return undefined;
  const id = file.subarray(signature.length, signature.length + idBytes);
  const records: (FoundRecord & { offset: number })[] = [];
  for (let offset = firstRecord; offset < file.length; ) {
    const record = decodeRecord(file.subarray(offset), id);
    if (record !== undefined) records.push({ ...record, offset });
    offset += record?.length ?? pageBytes;
  }
  records.sort((a, b) => a.sequence - b.sequence);
  const newest = records.at(-1);
  const least = lowestWanted(file.subarray(wantedOffset, firstRecord));
  const wanted = records.filter(({ sequence }) => sequence >= least);
  // A copy, because `file` is large.
  const state = { id: Buffer.from(id), end: file.length, sequence: Math.max(newest?.sequence ?? 0, least - 1) };
  return { ...state, entries: new Map(wanted.map(({ name, ...entry }) => [name, entryOf(entry)])) };
}

/** 0, so that stages come back that were discarded, when the page is torn or was never written. */
function lowestWanted(page: Buffer): number {
  return crc32(page.subarray(4, 10)) === page.readUInt32BE(0) ? page.readUIntBE(4, 6) : 0;
}

function entryOf({ sequence, offset, length }: Entry): Entry {
  return { sequence, offset, length };
}

/** The record that `bytes` begin with, if they do. */
function decodeRecord(bytes: Buffer, id: Uint8Array): FoundRecord | undefined {
  if (bytes.length < headBytes || Buffer.compare(bytes.subarray(0, idBytes), id) !== 0) return undefined;
  const end = headBytes + bytes.readUInt32BE(idBytes);
  if (end > bytes.length || crc32(bytes.subarray(headBytes, end)) !== bytes.readUInt32BE(idBytes + 4)) return undefined;
  const reader = new TlsReader(bytes.subarray(headBytes, end), 'record of the journal');
  const sequence = reader.uint(6, 'sequence number');
  const name = Buffer.from(reader.vector(1, 'name')).toString();
  const stage = reader.vector(4, 'stage');
  reader.end();
  return { sequence, name, bytes: stage, length: Math.ceil(end / pageBytes) * pageBytes };
}
