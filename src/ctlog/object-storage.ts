import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { AppError, messageOf } from '../errors.js';
import { bindToDatabase } from './object-storage-binding.js';
import type { StoreMark } from './object-storage-marks.js';
import { ObjectLogStorage } from './object-storage-operations.js';
import { PostgresLease } from './postgres-lease.js';
import { acquireLease } from './postgres-lease-wait.js';
import { s3Name } from './s3-address.js';
import { openS3, type S3Options } from './s3-objects.js';
import type { LogReader, LogStorage } from './storage.js';

export interface ObjectStorageOptions {
  /** Where tiles, issuers, stages and the published checkpoint are. */
  readonly s3: S3Options;
  /** `postgres://…` of the database that holds the committed checkpoint and the writer's lease. */
  readonly postgres: string;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** How long a writer that says nothing keeps its lease; 10 s unless told. A killed writer's standby need not wait it out. */
  readonly leaseMs?: number;
  /** Wait, as a standby, while another process has the lease; otherwise it is refused. */
  readonly waitForLease: boolean;
  /** Pause between two attempts to take the lease; 250 ms unless told. */
  readonly pollMs?: number;
  /** Longest time of one attempt of one statement of PostgreSQL; 5 s unless told. */
  readonly postgresTimeoutMs?: number;
  /** Called when the lease was found to be lost: this process takes no more entries until it has it again. */
  readonly onLeaseLost?: (reason: string) => void;
  /** A mark that does not keep this writer away, because it finishes what the mark stands for. */
  readonly allowed?: StoreMark;
  /** Ends the wait for the lease with AppError SHUTTING_DOWN. */
  readonly signal?: AbortSignal;
}

/** A log's storage whose writer may be another process by now. */
export interface ObjectStorage extends LogStorage {
  /** Whether this process holds the writer's lease, as far as it knows without asking. */
  isLeader(): boolean;
  /** Keeps writers away for the reason that the mark names, or lets them in again; durable when it resolves. */
  mark(mark: StoreMark): Promise<void>;
  unmark(mark: StoreMark): Promise<void>;
  /** Paths of everything that is there, the writer's own below `.writer/` too. */
  list(): Promise<string[]>;
}

/**
 * A log in an S3-compatible store, with its commit point and its writer's lease in PostgreSQL. Resolves when this
 * process holds the lease. Throws AppError STARTUP when another one does and `waitForLease` is not set, when the store
 * or the database cannot be used, or when they do not belong together.
 *
 * Once the lease was lost, `stage`, `replaceCheckpoint`, `upload` and `publish` throw CheckpointConflict until a
 * `loadCheckpoint` could take it again, which the writer calls when it starts over: one that was replaced is a standby.
 */
export async function openObjectStorage(options: ObjectStorageOptions): Promise<ObjectStorage> {
  const { clock, logger, leaseMs = 10_000, waitForLease, pollMs = 250, signal } = options;
  const objects = await openS3(options.s3);
  const leaseOptions = {
    connectionString: options.postgres,
    log: s3Name(options.s3),
    holder: `${hostname()} (process ${process.pid})`,
    leaseMs,
    timeoutMs: options.postgresTimeoutMs ?? 5_000,
    clock,
    onLost: (reason: string) => {
      logger.error(`the log stops: ${reason}`);
      options.onLeaseLost?.(reason);
    },
  };
  const lease = await asStartup(objects.name, () => PostgresLease.open(leaseOptions)).catch((error: unknown) => {
    objects.close();
    throw error;
  });
  const storage = new ObjectLogStorage(objects, lease, logger, options.allowed);
  try {
    await asStartup(objects.name, async () => {
      await acquireLease(lease, {
        waitForLease,
        pollMs,
        onWait: ({ holder, expiresInMs }) =>
          logger.info({ expiresInMs }, `standby of the log in ${objects.name}: waiting for the lease of ${holder}`),
        onError: (error) => logger.warn(`standby of the log in ${objects.name}: ${error.message}`),
        ...(signal === undefined ? {} : { signal }),
      });
      await bindToDatabase(objects, lease);
    });
    logger.info(`this process is the writer of the log in ${objects.name}`);
    return storage;
  } catch (error) {
    await storage.close();
    throw error;
  }
}

/** The public files of a log in an object store, for readers that are not its writer. `close` disconnects. */
export async function readObjectStore(s3: S3Options): Promise<LogReader & { close(): void }> {
  const objects = await openS3(s3);
  const fetch = async (path: string) => (await objects.get(path))?.bytes;
  return { name: objects.name, fetch, close: () => objects.close() };
}

async function asStartup<T>(name: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('STARTUP', `cannot use ${name} for the log: ${messageOf(cause)}`, { cause });
  }
}
