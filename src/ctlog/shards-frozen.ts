import { logIdOf } from '../ct/sct.js';
import { AppError, messageOf } from '../errors.js';
import { dedupeKey } from './candidate.js';
import { openCheckpoint, type SignedTreeHead } from './checkpoint.js';
import { readDirectory } from './directory-storage.js';
import { IndexCache } from './index-cache.js';
import type { EmbeddedLog } from './log.js';
import { sameHash } from './merkle.js';
import { readObjectStore } from './object-storage.js';
import { logReads } from './reads.js';
import { parseS3Address } from './s3-address.js';
import type { FrozenShard, ShardPlace } from './shards.js';
import { checkpointPath, type LogReader } from './storage.js';
import type { DecodedLeaf } from './tile-leaf.js';
import { openTileReader } from './tile-reader.js';
import { issuerPath } from './tiles.js';
import type { LogLogger } from './writer.js';

/** As get-entries of a log in use. */
const maxEntries = 256;

/**
 * Opens a frozen log for readers: every read of a log in use, and no key and no writer, so that nothing can be added.
 * Undefined, with a log line that says why, when its files are not there or not what was frozen: that is no reason for
 * the log in use to stand still.
 */
export async function openFrozenLog(
  shard: FrozenShard,
  place: ShardPlace,
  logger: LogLogger,
): Promise<EmbeddedLog | undefined> {
  const where = shard.storage ?? place.directory;
  let files: FrozenFiles | undefined;
  try {
    files = await openFrozenFiles(shard, place);
    const head = await finalHead(files, shard, place);
    return await open(head, files, { shard, place, logger });
  } catch (error) {
    files?.close();
    const what = { log: place.origin, directory: where, err: error };
    logger.error(what, `the frozen log ${place.origin} is not served: ${messageOf(error)}`);
    return undefined;
  }
}

/** The public files of a frozen log. */
export type FrozenFiles = LogReader & { close(): void };

/** Opens the files of a frozen log where it was frozen; throws AppError STARTUP for an address that is none. */
export async function openFrozenFiles({ storage }: FrozenShard, { directory }: ShardPlace): Promise<FrozenFiles> {
  if (storage === undefined) return { ...readDirectory(directory), close() {} };
  return readObjectStore(parseS3Address(storage, 'ctlog-shards.json'));
}

async function finalHead(files: LogReader, shard: FrozenShard, { origin }: ShardPlace): Promise<SignedTreeHead> {
  const bytes = await files.fetch(checkpointPath);
  if (bytes === undefined) throw new Error(`there is no checkpoint in ${files.name}`);
  const head = openCheckpoint(bytes, { origin, logKey: shard.publicKey });
  if (head.size === shard.size && sameHash(head.root, shard.root)) return head;
  const frozen = `${shard.size} entries and root ${hex(shard.root)}`;
  throw new Error(`its checkpoint has ${head.size} entries and root ${hex(head.root)}; it was frozen with ${frozen}`);
}

interface Frozen {
  readonly shard: FrozenShard;
  readonly place: ShardPlace;
  readonly logger: LogLogger;
}

async function open(head: SignedTreeHead, files: FrozenFiles, { shard, place, logger }: Frozen): Promise<EmbeddedLog> {
  const tiles = openTileReader(files);
  const logId = logIdOf(shard.publicKey);
  const keyOf = ({ timestampedEntry }: DecodedLeaf) => dedupeKey(timestampedEntry.entry);
  const failed = (error: unknown) => logger.error({ err: error }, `the index of ${place.origin}: ${messageOf(error)}`);
  const index = await IndexCache.open({ directory: place.indexDir, logId, logger, keyOf, failed }, head.size, tiles);
  const refuse = async (): Promise<never> => {
    const since = new Date(shard.frozenAt).toISOString();
    throw new AppError('CT_SUBMISSION_REFUSED', `the log ${place.origin} is frozen since ${since}; use its successor`);
  };
  return {
    name: place.origin,
    origin: place.origin,
    logId,
    publicKey: shard.publicKey,
    submit: refuse,
    addChain: refuse,
    addPreChain: refuse,
    roots: () => [],
    find: (key) => index.find(key)?.index,
    reads: logReads({ published: () => head, tiles, index, issuers: issuersIn(files), maxEntries }),
    files,
    treeHead: () => head,
    queue: () => ({ waiting: 0, limit: 0 }),
    readiness: () => ({ ok: true }),
    close: async () => {
      await index.close();
      files.close();
    },
  };
}

/** The issuer certificates in these files; few, so each is read once. */
function issuersIn(files: LogReader): { fetch(fingerprint: Uint8Array): Promise<Uint8Array> } {
  const known = new Map<string, Uint8Array>();
  return {
    async fetch(fingerprint) {
      const path = issuerPath(fingerprint);
      const bytes = known.get(path) ?? (await files.fetch(path));
      if (bytes === undefined) throw new Error(`${path} is missing from ${files.name}`);
      known.set(path, bytes);
      return bytes;
    },
  };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
