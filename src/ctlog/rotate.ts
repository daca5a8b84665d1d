import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { readPrivateFile, syncDirectory, writeNewFile } from '../ca/private-file.js';
import { AppError } from '../errors.js';
import { formatCheckpoint, type SignedTreeHead } from './checkpoint.js';
import { readIfExists, replaceFile, syncPath } from './durable-file.js';
import { requireMoved } from './moved.js';
import { identityOf, type LogIdentity, recover } from './recovery.js';
import { parseS3Address, s3Name } from './s3-address.js';
import {
  type FrozenShard,
  frozenMarker,
  installNextKey,
  logKeyFiles,
  placeOf,
  readShards,
  refuseFrozen,
  type ShardBase,
  type ShardPlace,
  type Shards,
  shardName,
  shardsFile,
  writeShards,
} from './shards.js';
import { CheckpointConflict, checkpointPath, type LogStorage } from './storage.js';
import { openTileReader } from './tile-reader.js';
import { tileWidth } from './tiles.js';
import { type LogLogger, Writer } from './writer.js';

const generate = promisify(generateKeyPair);

export interface RotateOptions extends ShardBase {
  /** Private key in keys/ctlog/key.pem. */
  readonly logKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly logger: LogLogger;
  /** Opens the storage of a log, as the server would. */
  readonly openStorage: (place: ShardPlace, key: KeyObject) => Promise<LogStorage>;
  /** Where the log is kept in an object store. */
  readonly store?: RotateStore;
}

/** An object store whose logs lie beside each other. */
export interface RotateStore {
  /** The s3: address of a log. */
  address(place: ShardPlace): string;
  /** Whether nothing is there yet. */
  isEmpty(place: ShardPlace): Promise<boolean>;
  /** Keeps every writer away from now on, durably; `openStorage` opens the log all the same. */
  freeze(place: ShardPlace): Promise<void>;
}

/** What a rotation did. */
export interface Rotation {
  readonly frozen: FrozenShard & { readonly place: ShardPlace };
  readonly opened: { readonly name: string; readonly publicKey: KeyObject; readonly place: ShardPlace };
}

/**
 * Freezes the log in use and opens the next one, with a new key, a new origin and a directory of its own. Nothing may
 * have the log open: throws AppError STARTUP when a server holds it.
 *
 * The order makes it safe to stop at any instant and to run again: final tree head signed and published; new key written
 * beside the old; ctlog-shards.json replaced, which is the one step that counts; the frozen log marked; the old private
 * key replaced by the new. The last two are made up for by the next start (`settleRotation`). A log in an object store is
 * marked before its final tree head is written down: other servers have its key too, and may be waiting for it.
 */
export async function rotateLog(options: RotateOptions): Promise<Rotation> {
  const { dataDir, clock, openStorage } = options;
  const key = await settleRotation(options, options.logKey);
  const shards = await readShards(dataDir);
  const place = placeOf(shards.current.name, options);
  await requireLog(place, options.store);
  const name = shardName(shards.frozen.length + 2);
  const next = placeOf(name, options);
  await requireFree(next, options.store);
  const storage = await openStorage(place, key);
  try {
    // Another rotation may have run before the lock was ours.
    await refuseFrozen(place.directory);
    const identity = identityOf(place.origin, key);
    const final = await finalHead(storage, identity, options);
    if (options.store !== undefined) {
      await options.store.freeze(place);
      await requireLast(storage, formatCheckpoint(final.head, identity));
    }
    const frozen: FrozenShard = {
      name: shards.current.name,
      publicKey: createPublicKey(key),
      createdAt: shards.current.createdAt,
      frozenAt: final.head.timestamp,
      size: final.head.size,
      root: final.head.root,
      lastSct: final.lastSct,
      ...(options.store === undefined ? {} : { storage: options.store.address(place) }),
    };
    const nextKey = await writeNextKey(dataDir);
    const publicKey = createPublicKey(nextKey);
    // Not before the frozen log's end, whatever the clock says.
    const createdAt = Math.max(clock(), frozen.frozenAt + 1);
    await writeShards(dataDir, { frozen: [...shards.frozen, frozen], current: { name, publicKey, createdAt } });
    await settleRotation(options, key);
    await createLog(await openStorage(next, nextKey), identityOf(next.origin, nextKey), createdAt);
    return { frozen: { ...frozen, place }, opened: { name, publicKey, place: next } };
  } finally {
    await storage.close();
  }
}

/**
 * Finishes what a rotation that was cut short has left to do, and gives the private key of the log in use. `found` is
 * the key in keys/ctlog/key.pem. Throws AppError STARTUP when neither that nor the coming one is the key of the log.
 */
export async function settleRotation(base: ShardBase, found: KeyObject): Promise<KeyObject> {
  const { dataDir } = base;
  const shards = await readShards(dataDir);
  await markFrozen(shards, base);
  const wanted = shards.current.publicKey;
  if (wanted === undefined || wanted.equals(createPublicKey(found))) return found;
  const { current, next } = logKeyFiles(dataDir);
  const coming = existsSync(next) ? createPrivateKey(await readPrivateFile(next)) : undefined;
  if (coming === undefined || !wanted.equals(createPublicKey(coming))) {
    throw new AppError(
      'STARTUP',
      `${current} is not the key of the log in use, "${shards.current.name}", which ${shardsFile(dataDir)} names; ` +
        'restore both from the same backup',
    );
  }
  await installNextKey(dataDir);
  return coming;
}

/** A frozen log whose files are elsewhere now needs no mark; one in an object store got it when it was rotated. */
async function markFrozen({ frozen }: Shards, base: ShardBase): Promise<void> {
  for (const { name, storage } of frozen) {
    if (storage !== undefined) continue;
    const { directory } = placeOf(name, base);
    const marker = frozenMarker(directory);
    if (!existsSync(dirname(marker)) || existsSync(marker)) continue;
    const checkpoint = (await readIfExists(join(directory, checkpointPath))) ?? new Uint8Array();
    await replaceFile(marker, `${marker}.new`, checkpoint, { mode: 0o600, sync: true });
    await syncPath(dirname(marker));
  }
}

/** Throws AppError STARTUP when there is no log at this place. */
export async function requireLog(place: ShardPlace, store?: RotateStore): Promise<void> {
  const { directory } = place;
  if (store !== undefined) {
    requireMoved(directory, s3Name(parseS3Address(store.address(place), '--ctlog-storage')));
    if (!(await store.isEmpty(place))) return;
    throw new AppError('STARTUP', `there is no log in ${store.address(place)}: start the server once`);
  }
  if (existsSync(join(directory, '.writer', 'committed'))) return;
  throw new AppError('STARTUP', `there is no log in ${directory}: start the server once, or name it with --ctlog-dir`);
}

/** Throws CheckpointConflict when somebody committed between the final tree head and the mark. */
async function requireLast(storage: LogStorage, checkpoint: Uint8Array): Promise<void> {
  const found = await storage.loadCheckpoint();
  if (found !== undefined && Buffer.compare(found, checkpoint) === 0) return;
  throw new CheckpointConflict(`another process wrote to the log in ${storage.name} while it was frozen; run it again`);
}

async function requireFree(place: ShardPlace, store: RotateStore | undefined): Promise<void> {
  const { directory } = place;
  if (store !== undefined) {
    if (await store.isEmpty(place)) return;
    throw new AppError('STARTUP', `${store.address(place)}, where the next log belongs, is not empty`);
  }
  const names = existsSync(directory) ? await readdir(directory) : [];
  if (names.length === 0) return;
  throw new AppError('STARTUP', `${directory}, where the next log belongs, is not empty (it holds ${names[0]})`);
}

interface FinalHead {
  readonly head: SignedTreeHead;
  readonly lastSct: number | undefined;
}

/** Recovers the log, signs its tree head a last time and makes everything durable. */
async function finalHead(storage: LogStorage, identity: LogIdentity, options: RotateOptions): Promise<FinalHead> {
  const { clock, logger } = options;
  const writer = await Writer.open({
    storage,
    identity,
    clock,
    logger,
    publishDelayMs: 0,
    flushDelayMs: 0,
    onStop: () => {},
  });
  await writer.resign();
  await writer.close();
  await storage.flush([checkpointPath]);
  const { head } = writer;
  if (head.size === 0) return { head, lastSct: undefined };
  const leaves = await openTileReader(storage).leaves(head.size, Math.floor((head.size - 1) / tileWidth));
  const times = leaves.map(({ timestampedEntry }) => Number(timestampedEntry.timestamp));
  return { head, lastSct: Math.max(...times) };
}

/** A key that an interrupted rotation left, and that no log has come to know, is thrown away. */
async function writeNextKey(dataDir: string): Promise<KeyObject> {
  const { next } = logKeyFiles(dataDir);
  const { privateKey } = await generate('ec', { namedCurve: 'P-256' });
  await rm(next, { force: true });
  await writeNewFile(next, String(privateKey.export({ type: 'pkcs8', format: 'pem' })), 0o600);
  await syncDirectory(dirname(next));
  return privateKey;
}

/** Gives the new log its first, empty tree head. */
async function createLog(storage: LogStorage, identity: LogIdentity, now: number): Promise<void> {
  try {
    await recover(storage, identity, now);
  } finally {
    await storage.close();
  }
}
