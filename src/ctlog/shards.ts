import { createPublicKey, type KeyObject } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { AppError, messageOf } from '../errors.js';
import { readIfExists, replaceFile, syncPath } from './durable-file.js';

/**
 * Which logs an instance has had: the frozen ones, oldest first, and the one in use. The first is called `ctlog`, the
 * second `ctlog2`, and so on; a name is also the last part of the log's URL and origin, and of its directory.
 *
 * They are written down in DATA-DIR/ctlog-shards.json by the first rotation; without that file there is one log, `ctlog`.
 */
export interface Shards {
  readonly frozen: readonly FrozenShard[];
  readonly current: CurrentShard;
}

/** A log that takes no entry any more. Times are in milliseconds since the epoch. */
export interface FrozenShard {
  readonly name: string;
  readonly publicKey: KeyObject;
  /** When the log was opened by a rotation; the first log has none. */
  readonly createdAt: number | undefined;
  /** Of the final tree head. */
  readonly frozenAt: number;
  readonly size: number;
  readonly root: Uint8Array;
  /** Time of the last SCT; undefined for a log that never gave one. */
  readonly lastSct: number | undefined;
  /** The s3: address of a log that was frozen in an object store; without one it is in its directory. */
  readonly storage?: string;
}

export interface CurrentShard {
  readonly name: string;
  /** Undefined for the first log, whose key is whatever keys/ctlog holds. */
  readonly publicKey: KeyObject | undefined;
  /** Milliseconds since the epoch. */
  readonly createdAt: number | undefined;
}

/** What the places of an instance's logs are made from. */
export interface ShardBase {
  readonly dataDir: string;
  /** Directory of the first log, if not DATA-DIR/ctlog. */
  readonly ctlogDir?: string | undefined;
  /** Without trailing slash. */
  readonly publicUrl: string;
}

/** Where a log is. */
export interface ShardPlace {
  readonly directory: string;
  readonly indexDir: string;
  /** Submission prefix without scheme (static-ct-api). */
  readonly origin: string;
  /** Submission and monitoring prefix. */
  readonly url: string;
  /** What tells it from the first log, whose number is left out: '' for `ctlog`, '2' for `ctlog2`. */
  readonly number: string;
  /** Path of that URL below the public URL, such as `/ctlog2`. */
  readonly path: string;
}

const firstName = 'ctlog';

/** `ctlog` for the first log, then `ctlog2`, `ctlog3` … */
export function shardName(number: number): string {
  return number === 1 ? firstName : `${firstName}${number}`;
}

/** The later logs lie beside the first, with their number after its name. */
export function placeOf(name: string, { dataDir, ctlogDir, publicUrl }: ShardBase): ShardPlace {
  const number = name.slice(firstName.length);
  const first = resolve(ctlogDir ?? join(dataDir, firstName));
  const url = `${publicUrl}/${name}`;
  return {
    directory: join(dirname(first), `${basename(first)}${number}`),
    indexDir: join(dataDir, `${firstName}-index${number}`),
    origin: url.replace(/^https?:\/\//, ''),
    url,
    number,
    path: `/${name}`,
  };
}

export function shardsFile(dataDir: string): string {
  return join(dataDir, 'ctlog-shards.json');
}

const time = z.iso.datetime().transform((text) => Date.parse(text));
const publicKey = z.base64().transform((text) => {
  return createPublicKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
});
const name = z.string().regex(/^ctlog([2-9]|[1-9][0-9]{1,3})?$/);
const root = z
  .base64()
  .transform((text): Uint8Array => Buffer.from(text, 'base64'))
  .refine((hash) => hash.length === 32);
const shardsJson = z.object({
  format: z.literal(1),
  frozen: z.array(
    z.object({
      name,
      publicKey,
      createdAt: time.optional(),
      frozenAt: time,
      size: z.int().nonnegative(),
      rootHash: root,
      lastSct: time.optional(),
      storage: z.string().optional(),
    }),
  ),
  current: z.object({ name, publicKey, createdAt: time }),
});

/** Reads DATA-DIR/ctlog-shards.json; throws AppError STARTUP, naming the file, when it is not one. */
export async function readShards(dataDir: string): Promise<Shards> {
  const file = shardsFile(dataDir);
  const bytes = await readIfExists(file);
  const current = { name: firstName, publicKey: undefined, createdAt: undefined };
  if (bytes === undefined) return { frozen: [], current };
  let parsed: z.infer<typeof shardsJson>;
  try {
    parsed = shardsJson.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause).split('\n').join(' ') : messageOf(cause);
    throw new AppError('STARTUP', `${file} is not a list of logs as a rotation writes it: ${why}`, { cause });
  }
  return {
    frozen: parsed.frozen.map(({ rootHash, createdAt, lastSct, storage, ...rest }) => ({
      ...rest,
      ...(storage === undefined ? {} : { storage }),
      createdAt,
      lastSct,
      root: rootHash,
    })),
    current: parsed.current,
  };
}

/** What a rotation leads to: the log in use then has a key of its own. */
export interface RotatedShards {
  readonly frozen: readonly FrozenShard[];
  readonly current: { readonly name: string; readonly publicKey: KeyObject; readonly createdAt: number };
}

/** Replaces DATA-DIR/ctlog-shards.json durably. */
export async function writeShards(dataDir: string, { frozen, current }: RotatedShards): Promise<void> {
  const json = {
    format: 1,
    frozen: frozen.map((shard) => ({
      name: shard.name,
      publicKey: toBase64(shard.publicKey),
      ...(shard.createdAt === undefined ? {} : { createdAt: toIso(shard.createdAt) }),
      frozenAt: toIso(shard.frozenAt),
      size: shard.size,
      rootHash: Buffer.from(shard.root).toString('base64'),
      ...(shard.lastSct === undefined ? {} : { lastSct: toIso(shard.lastSct) }),
      ...(shard.storage === undefined ? {} : { storage: shard.storage }),
    })),
    current: {
      name: current.name,
      publicKey: toBase64(current.publicKey),
      createdAt: toIso(current.createdAt),
    },
  };
  const file = shardsFile(dataDir);
  const text = `${JSON.stringify(json, null, 2)}\n`;
  await replaceFile(file, `${file}.new`, Buffer.from(text), { mode: 0o644, sync: true });
  await syncPath(dataDir);
}

function toBase64(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'der' }).toString('base64');
}

function toIso(ms: number): string {
  return new Date(ms).toISOString();
}

/** The key files of the log in use; `next` exists only while a rotation is under way. */
export function logKeyFiles(dataDir: string): { readonly current: string; readonly next: string } {
  const directory = join(dataDir, 'keys', 'ctlog');
  return { current: join(directory, 'key.pem'), next: join(directory, 'next.pem') };
}

/** The file that marks a log's directory as frozen; it holds the final checkpoint. */
export function frozenMarker(directory: string): string {
  return join(directory, '.writer', 'frozen');
}

/** Throws AppError STARTUP when a rotation has frozen the log in `directory`. */
export async function refuseFrozen(directory: string): Promise<void> {
  if ((await readIfExists(frozenMarker(directory))) === undefined) return;
  throw new AppError(
    'STARTUP',
    `the log in ${directory} was frozen by "mayfly log rotate" and takes no entry any more; start with the data ` +
      'directory it was rotated in, whose ctlog-shards.json names the log that follows it',
  );
}

/** Makes the key of the coming log the key of the log in use, which removes the old one from the disk. */
export async function installNextKey(dataDir: string): Promise<void> {
  const { current, next } = logKeyFiles(dataDir);
  await rename(next, current);
  await syncPath(dirname(current));
}
