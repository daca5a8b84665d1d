import { createPublicKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { logIdOf } from '../ct/sct.js';
import { readIfExists, replaceFile, syncPath } from '../ctlog/durable-file.js';
import { AppError, messageOf } from '../errors.js';
import type { PublishedLog } from './trust.js';

/**
 * Every log whose SCTs this instance's certificates have carried: clients must be able to check those for as long as
 * there are signatures, whatever the settings say by then.
 */
export interface LogRecord {
  /** The logs in use, in the order given last, then the former ones, the latest first; those have an `end`. */
  list(): readonly PublishedLog[];
  /**
   * Takes note of the logs in use from now on; what is missing among them has been used until now. Durable when it
   * resolves, so call it before the first submission. Throws AppError STARTUP when it cannot be written.
   */
  update(inUse: readonly PublishedLog[]): Promise<void>;
}

/** Times are in milliseconds since the epoch. */
interface Entry {
  readonly url: string;
  readonly publicKey: KeyObject;
  readonly start?: number | undefined;
  readonly end?: number | undefined;
  readonly firstUse: number;
  /** Undefined while it is in use. */
  readonly lastUse?: number | undefined;
}

/** An SCT may be this far ahead of our clock (see readSct), and submissions under way may still get one. */
const marginMs = 5 * 60_000;

const time = z.iso.datetime().transform((text) => Date.parse(text));
const publicKey = z.base64().transform((text) => {
  return createPublicKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
});
const recordJson = z.object({
  format: z.literal(1),
  logs: z.array(
    z.object({
      url: z.string(),
      publicKey,
      start: time.optional(),
      end: time.optional(),
      firstUse: time,
      lastUse: time.optional(),
    }),
  ),
});

/** The file of the record in a data directory. */
export function logRecordFile(dataDir: string): string {
  return join(dataDir, 'published-logs.json');
}

/** Reads DATA-DIR/published-logs.json, if it is there; throws AppError STARTUP, naming it, when it is something else. */
export async function openLogRecord(dataDir: string, clock: () => number): Promise<LogRecord> {
  const file = logRecordFile(dataDir);
  let entries = await read(file);
  let order: readonly string[] = [];
  return {
    list: () => listed(entries, order),
    async update(inUse) {
      const next = merged(entries, inUse, clock());
      const text = encode(next);
      if (text !== encode(entries)) await write(dataDir, file, text);
      entries = next;
      order = inUse.map((log) => idOf(log.publicKey));
    },
  };
}

/** What `list` would give after an `update`, without writing anything: for commands beside a server. */
export async function withFormerLogs(
  dataDir: string,
  inUse: readonly PublishedLog[],
  clock: () => number,
): Promise<readonly PublishedLog[]> {
  const order = inUse.map((log) => idOf(log.publicKey));
  return listed(merged(await read(logRecordFile(dataDir)), inUse, clock()), order);
}

type Entries = ReadonlyMap<string, Entry>;

function merged(entries: Entries, inUse: readonly PublishedLog[], now: number): Entries {
  const next = new Map<string, Entry>();
  for (const [id, entry] of entries) next.set(id, { ...entry, lastUse: entry.lastUse ?? now });
  for (const { url, publicKey, start, end } of inUse) {
    const id = idOf(publicKey);
    const firstUse = entries.get(id)?.firstUse ?? now;
    next.set(id, { url, publicKey, start: start?.getTime(), end: end?.getTime(), firstUse });
  }
  return next;
}

function listed(entries: Entries, order: readonly string[]): PublishedLog[] {
  const former = [...entries].filter(([id]) => !order.includes(id)).sort(([, a], [, b]) => endOf(b) - endOf(a));
  return [
    ...order.flatMap((id) => toPublished(entries.get(id))),
    ...former.flatMap(([, entry]) => toPublished({ ...entry, end: endOf(entry) })),
  ];
}

/** A frozen log of ours has an end of its own, which is exact. */
function endOf({ end, lastUse }: Entry): number {
  return end ?? (lastUse ?? 0) + marginMs;
}

function toPublished(entry: Entry | undefined): PublishedLog[] {
  if (entry === undefined) return [];
  const { url, publicKey, start, end } = entry;
  return [
    {
      url,
      publicKey,
      ...(start === undefined ? {} : { start: new Date(start) }),
      ...(end === undefined ? {} : { end: new Date(end) }),
    },
  ];
}

async function read(file: string): Promise<Entries> {
  const bytes = await readIfExists(file);
  if (bytes === undefined) return new Map();
  try {
    const { logs } = recordJson.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return new Map(logs.map((log) => [idOf(log.publicKey), log]));
  } catch (cause) {
    throw new AppError('STARTUP', `${file} is no record of published logs: ${messageOf(cause)}`, { cause });
  }
}

function encode(entries: Entries): string {
  const iso = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms).toISOString());
  const logs = [...entries.values()].map(({ url, publicKey, start, end, firstUse, lastUse }) => ({
    url,
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    start: iso(start),
    end: iso(end),
    firstUse: iso(firstUse),
    lastUse: iso(lastUse),
  }));
  return `${JSON.stringify({ format: 1, logs }, undefined, 2)}\n`;
}

async function write(dataDir: string, file: string, text: string): Promise<void> {
  try {
    await replaceFile(file, `${file}.tmp`, Buffer.from(text), { mode: 0o644, chmod: true, sync: true });
    await syncPath(dataDir);
  } catch (cause) {
    throw new AppError('STARTUP', `the record of published logs cannot be written to ${file}: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function idOf(key: KeyObject): string {
  return Buffer.from(logIdOf(key)).toString('hex');
}
