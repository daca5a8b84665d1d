import type { KeyObject } from 'node:crypto';
import type { Logger } from 'pino';
import { AppError, messageOf } from '../errors.js';
import { CheckpointError, openCheckpoint, type SignedTreeHead } from './checkpoint.js';
import { loadEdge } from './edge.js';
import { sameHash } from './merkle.js';
import type { LogStorage } from './storage.js';
import { openTileReader } from './tile-reader.js';

/** A log's last committed checkpoint, kept where no backup of the log reaches. */
export interface CheckpointRecord {
  /** For messages: a file or a database. */
  readonly name: string;
  /** What was recorded last; undefined when nothing ever was. */
  load(): Promise<Uint8Array | undefined>;
  /**
   * Replaces the record if it is still `expected`, or is `next` already. Durable when it resolves; throws
   * CheckpointConflict, changing nothing, when another log or a copy of this one has written it.
   */
  replace(expected: Uint8Array | undefined, next: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export interface LockRecordOptions {
  /** Submission prefix without scheme and trailing slash. */
  readonly origin: string;
  readonly logKey: KeyObject;
  readonly logger: Pick<Logger, 'warn'>;
}

/** What the start says of a log without a record. */
export const noLockRecord =
  'no record of the last checkpoint is kept outside the log (--ctlog-lock), so a log that was restored from an old ' +
  'backup would go unnoticed and contradict the certificates issued since';

/**
 * `storage` with each committed checkpoint recorded in `record`, after the commit and before anything of it is
 * published or promised. A commit whose record fails stops the writer, as any failed commit does.
 *
 * `loadCheckpoint` throws AppError STARTUP, saying how to recover, when the storage is older than the record: it was
 * restored from an old backup. A storage that is ahead must continue the recorded tree; that is checked, when recovery
 * has finished the tiles, by `publish`. Closes both.
 */
export function withLockRecord(storage: LogStorage, record: CheckpointRecord, options: LockRecordOptions): LogStorage {
  /** What the record holds, and the tree it names while it is still to be shown that the storage continues it. */
  const state: { recorded: Uint8Array | undefined; unproven: SignedTreeHead | undefined } = {
    recorded: undefined,
    unproven: undefined,
  };

  async function put(checkpoint: Uint8Array): Promise<void> {
    await record.replace(state.recorded, checkpoint);
    state.recorded = checkpoint;
  }

  return {
    name: storage.name,
    async loadCheckpoint() {
      const committed = await storage.loadCheckpoint();
      state.recorded = await record.load();
      state.unproven = compare(storage, record, committed, state.recorded, options);
      return committed;
    },
    async replaceCheckpoint(expected, next) {
      await storage.replaceCheckpoint(expected, next);
      if (state.unproven === undefined) await put(next);
    },
    async publish(checkpoint) {
      if (state.unproven !== undefined) {
        await prove(storage, record, state.unproven);
        state.unproven = undefined;
        await put(checkpoint);
      }
      await storage.publish(checkpoint);
    },
    stage: (name, bytes) => storage.stage(name, bytes),
    listStages: () => storage.listStages(),
    fetchStage: (name) => storage.fetchStage(name),
    discardStages: (names, durable) => storage.discardStages(names, durable),
    upload: (path, bytes) => storage.upload(path, bytes),
    flush: (paths) => storage.flush(paths),
    discardPartials: (directories) => storage.discardPartials(directories),
    fetch: (path) => storage.fetch(path),
    async close() {
      try {
        await storage.close();
      } finally {
        await record.close();
      }
    },
  };
}

/** Throws unless the storage may be newer than the record; gives the recorded tree head if it is still to be proven. */
function compare(
  storage: LogStorage,
  record: CheckpointRecord,
  committed: Uint8Array | undefined,
  recorded: Uint8Array | undefined,
  { logger, ...identity }: LockRecordOptions,
): SignedTreeHead | undefined {
  if (recorded === undefined) {
    if (committed === undefined) return undefined;
    const since = `the log in ${storage.name} is recorded in ${record.name} from now on`;
    logger.warn(`${since}; nothing was recorded there before, so an old copy of the log would not have been noticed`);
    return undefined;
  }
  const last = openRecorded(record, recorded, identity);
  if (committed === undefined) throw older(storage, record, last, 'it holds no log');
  const head = openCommitted(committed, identity);
  if (head === undefined) return undefined;
  if (head.size < last.size) throw older(storage, record, last, `its checkpoint has size ${head.size}`);
  if (head.size > last.size) return last;
  if (!sameHash(head.root, last.root)) {
    throw older(storage, record, last, `its checkpoint of size ${head.size} has another root hash`);
  }
  if (head.timestamp < last.timestamp) {
    throw older(storage, record, last, `its checkpoint is of ${new Date(head.timestamp).toISOString()}`);
  }
  return undefined;
}

function openRecorded(record: CheckpointRecord, recorded: Uint8Array, identity: Identity): SignedTreeHead {
  try {
    return openCheckpoint(recorded, identity);
  } catch (cause) {
    throw new AppError(
      'STARTUP',
      `the last checkpoint recorded in ${record.name} is not one of this log: ${messageOf(cause)}. Give each log a record ` +
        'of its own (--ctlog-lock)',
      { cause },
    );
  }
}

type Identity = Pick<LockRecordOptions, 'origin' | 'logKey'>;

/** Undefined for a checkpoint that recovery, which looks at it next, refuses in its own words. */
function openCommitted(committed: Uint8Array, identity: Identity): SignedTreeHead | undefined {
  try {
    return openCheckpoint(committed, identity);
  } catch (error) {
    if (error instanceof CheckpointError) return undefined;
    throw error;
  }
}

/** That the recorded tree is the beginning of the stored one: its root hash, computed from the stored tiles, is the same. */
async function prove(storage: LogStorage, record: CheckpointRecord, last: SignedTreeHead): Promise<void> {
  if (last.size === 0) return;
  try {
    await loadEdge(last.size, last.root, openTileReader(storage));
  } catch (cause) {
    throw older(storage, record, last, `it has grown apart from that (${messageOf(cause)})`, cause);
  }
}

function older(
  { name }: LogStorage,
  record: CheckpointRecord,
  { size, timestamp }: SignedTreeHead,
  found: string,
  cause?: unknown,
): AppError {
  return new AppError(
    'STARTUP',
    `the log in ${name} does not continue the last checkpoint recorded in ${record.name} (size ${size}, ` +
      `${new Date(timestamp).toISOString()}): ${found}. It was probably restored from an old backup. Nothing was signed. ` +
      `Restore a copy that holds all ${size} entries; if there is none, this log must not go on, because certificates ` +
      'that were issued with its promise are missing from it: keep it for reading only and start a new log with a new key',
    cause === undefined ? {} : { cause },
  );
}
