import { createPublicKey, type KeyObject } from 'node:crypto';
import { logIdOf } from '../ct/sct.js';
import { AppError, messageOf } from '../errors.js';
import {
  CheckpointError,
  formatCheckpoint,
  noteKeyId,
  openCheckpoint,
  type SignedTreeHead,
  signTreeHead,
} from './checkpoint.js';
import { type Edge, edgeRoot, emptyEdge, extendEdge, loadEdge, type TileWrite } from './edge.js';
import { emptyRoot, sameHash } from './merkle.js';
import { committedStages, decodeStage, type Stage, stageName } from './stage.js';
import { checkpointPath, type LogReader, type LogStorage } from './storage.js';
import { cutTile, decodeTileLeaf, hashOf } from './tile-leaf.js';
import { openTileReader } from './tile-reader.js';
import { fullTilePath, parseTilePath, tileIn, tilePath, tileWidth } from './tiles.js';

/** Who the log is: fixed for its life. */
export interface LogIdentity {
  /** Submission prefix without scheme and trailing slash. */
  readonly origin: string;
  readonly logId: Uint8Array;
  /** Key id of the checkpoint's signature line. */
  readonly keyId: Uint8Array;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** The identity that an origin and a private key make. */
export function identityOf(origin: string, privateKey: KeyObject): LogIdentity {
  const publicKey = createPublicKey(privateKey);
  const logId = logIdOf(publicKey);
  return { origin, logId, keyId: noteKeyId(origin, logId), privateKey, publicKey };
}

/** The writer's state: the committed tree, which the storage holds exactly like this. */
export interface LogState {
  readonly head: SignedTreeHead;
  /** The committed checkpoint, byte for byte. */
  readonly checkpoint: Uint8Array;
  readonly edge: Edge;
}

/**
 * Brings a log from whatever a crash or a failed write left behind to its committed tree, and publishes that.
 *
 * Committed stages are replayed and made durable; a stage without its commit is removed, durably, before anything else
 * is written, and no tile of it ever existed. Running it again at any point of itself is safe. Throws AppError STARTUP
 * when the storage is not this log's, or contradicts itself.
 */
export async function recover(storage: LogStorage, identity: LogIdentity, now: number): Promise<LogState> {
  const found = await storage.loadCheckpoint();
  if (found === undefined) return create(storage, identity, now);
  const head = open(found, 'the committed checkpoint', storage, identity);
  // The same without the lines of others: the operator may have put a published checkpoint in its place.
  const committed = formatCheckpoint(head, identity);
  await refuseNewerPublished(storage, identity, head);
  // What was found may be the visible half of a write whose fsync failed: make it durable before building on it.
  await storage.replaceCheckpoint(found, committed);
  const names = await storage.listStages();
  const chain = committedStages(await readStages(storage, names), head);
  const kept = chain.map(stageName);
  await storage.discardStages(
    names.filter((name) => !kept.includes(name)),
    true,
  );
  const edge = await replay(storage, chain, head);
  await storage.publish(committed);
  await storage.flush([checkpointPath]);
  await storage.discardStages(kept, true);
  return { head, checkpoint: committed, edge };
}

async function replay(storage: LogStorage, chain: readonly Stage[], head: SignedTreeHead): Promise<Edge> {
  let edge = await loadBase(storage, chain, head);
  const tiles = new RewrittenTiles(storage);
  const filled: string[] = [];
  for (const stage of chain) {
    const leaves = stage.leaves.map((bytes) => ({ bytes, hash: hashOf(decodeTileLeaf(bytes)) }));
    const growth = extendEdge(edge, leaves);
    if (!sameHash(edgeRoot(growth.edge), stage.newRoot)) {
      throw damaged(storage, `stage ${stageName(stage)} does not lead to the root hash it was signed for`);
    }
    await Promise.all(growth.tiles.map((tile) => tiles.take(tile)));
    filled.push(...growth.filled);
    edge = growth.edge;
  }
  await tiles.finish();
  await storage.discardPartials(filled);
  return edge;
}

/**
 * Writes the tiles of stages. Of the versions of a partial tile, the last one and the ones that were published, which a
 * crash may have left empty; the others nobody has seen.
 */
class RewrittenTiles {
  readonly #storage: LogStorage;
  readonly #written = new Set<string>();
  /** By the path of the full tile. */
  readonly #newest = new Map<string, TileWrite>();

  constructor(storage: LogStorage) {
    this.#storage = storage;
  }

  async take(write: TileWrite): Promise<void> {
    const key = fullTilePath(write.tile.kind, write.tile.index);
    const older = this.#newest.get(key);
    this.#newest.set(key, write);
    if (older !== undefined && (await this.#storage.fetch(older.path)) !== undefined) await this.#write(older);
    if (write.tile.width < tileWidth) return;
    this.#newest.delete(key);
    await this.#write(write);
  }

  /** Resolves when all of them are durable. */
  async finish(): Promise<void> {
    await Promise.all([...this.#newest.values()].map((write) => this.#write(write)));
    await this.#storage.flush(this.#written);
  }

  async #write({ path, parts }: TileWrite): Promise<void> {
    await this.#storage.upload(path, Buffer.concat(parts));
    this.#written.add(path);
  }
}

async function loadBase(storage: LogStorage, chain: readonly Stage[], head: SignedTreeHead): Promise<Edge> {
  const [first] = chain;
  const base = first === undefined ? head : { size: first.oldSize, root: first.oldRoot };
  if (base.size === 0) {
    if (sameHash(base.root, emptyRoot)) return emptyEdge;
    throw damaged(storage, 'its checkpoint of size 0 does not have the root hash of an empty tree');
  }
  try {
    return await loadEdge(base.size, base.root, openTileReader(withWider(storage, chain)));
  } catch (cause) {
    throw damaged(storage, messageOf(cause), cause);
  }
}

/**
 * `storage` for the tree that the first stage builds on. A stage that came back after it was discarded may build on a
 * size that got no partial tiles; then there are wider ones of a size that it or a later one led to.
 */
function withWider(storage: LogStorage, chain: readonly Stage[]): LogReader {
  return {
    name: storage.name,
    async fetch(path) {
      const found = await storage.fetch(path);
      const tile = parseTilePath(path);
      if (found !== undefined || tile === undefined) return found;
      for (const { newSize } of chain) {
        const wider = tileIn(newSize, tile.kind, tile.index);
        const bytes = wider.width > tile.width ? await storage.fetch(tilePath(wider)) : undefined;
        if (bytes !== undefined) return cutTile(tile.kind, bytes, tile.width);
      }
      return undefined;
    },
  };
}

async function readStages(storage: LogStorage, names: readonly string[]): Promise<Stage[]> {
  const stages: Stage[] = [];
  for (const name of names) {
    const bytes = await storage.fetchStage(name);
    try {
      const stage = decodeStage(bytes);
      if (stageName(stage) === name) stages.push(stage);
    } catch {
      // Torn, so never committed: the caller discards what is not in the committed chain.
    }
  }
  return stages;
}

async function create(storage: LogStorage, identity: LogIdentity, now: number): Promise<LogState> {
  const published = await storage.fetch(checkpointPath);
  if (published !== undefined) {
    throw damaged(storage, 'it has a published checkpoint but no committed one');
  }
  await storage.discardStages(await storage.listStages(), true);
  const head = signTreeHead({ size: 0, root: emptyRoot, timestamp: now }, identity.privateKey);
  const checkpoint = formatCheckpoint(head, identity);
  await storage.replaceCheckpoint(undefined, checkpoint);
  await storage.publish(checkpoint);
  await storage.flush([checkpointPath]);
  return { head, checkpoint, edge: emptyEdge };
}

/** A published head the writer does not know means that the writer's own record is older than what the world saw. */
async function refuseNewerPublished(storage: LogStorage, identity: LogIdentity, head: SignedTreeHead): Promise<void> {
  const bytes = await storage.fetch(checkpointPath);
  // Publication is not durable by itself: a power failure may leave an empty file, which recovery writes anew.
  if (bytes === undefined || bytes.length === 0) return;
  const published = open(bytes, 'the published checkpoint', storage, identity);
  const forked = published.size === head.size && !sameHash(published.root, head.root);
  if (published.size <= head.size && published.timestamp <= head.timestamp && !forked) return;
  throw damaged(
    storage,
    `its published checkpoint (size ${published.size}) is newer than the committed one (size ${head.size}), ` +
      'so an older copy of the log was put back; going on would contradict what clients have seen',
  );
}

function open(bytes: Uint8Array, what: string, storage: LogStorage, identity: LogIdentity): SignedTreeHead {
  try {
    return openCheckpoint(bytes, { origin: identity.origin, logKey: identity.publicKey });
  } catch (cause) {
    if (!(cause instanceof CheckpointError)) throw cause;
    throw new AppError(
      'STARTUP',
      `${what} in ${storage.name} is not one of this log: ${cause.message}. Give the log its own directory, or the key ` +
        'and the public URL it was made with',
      { cause },
    );
  }
}

function damaged(storage: LogStorage, what: string, cause?: unknown): AppError {
  return new AppError(
    'STARTUP',
    `the log in ${storage.name} is damaged: ${what}. Nothing new was signed. Restore the newest complete copy of the ` +
      'directory (a copy older than the last certificate issued would fork the log), or start a new log with a new key',
    cause === undefined ? {} : { cause },
  );
}
