import { createPublicKey, type KeyObject } from 'node:crypto';
import type { LogStorageSettings } from '../config/serve.js';
import { openDirectoryStorage } from '../ctlog/directory-storage.js';
import { noLockRecord, withLockRecord } from '../ctlog/lock-record.js';
import { openLockRecord } from '../ctlog/lock-record-stores.js';
import { openObjectStorage } from '../ctlog/object-storage.js';
import type { StoreMark } from '../ctlog/object-storage-marks.js';
import { numberedAddress, parseS3Address, type S3Address } from '../ctlog/s3-address.js';
import type { LogStorage } from '../ctlog/storage.js';
import { type WitnessedStorage, withWitnesses } from '../ctlog/witness.js';
import { readWitnessPolicy } from '../ctlog/witness-policy.js';
import type { LogLogger } from '../ctlog/writer.js';

/** A log's storage, and what keeps this process from writing to it at the moment. */
export interface OpenedStorage {
  readonly storage: LogStorage;
  readonly trouble: () => string | undefined;
  /** The same storage, if witnesses cosign what it publishes. */
  readonly witnessed?: WitnessedStorage;
}

export interface LogStorageDeps {
  /** The log's directory, where it is kept in one. */
  readonly directory: string;
  readonly origin: string;
  /** '' for the first log of an instance, '2' for the second. */
  readonly number: string;
  readonly key: KeyObject;
  readonly clock: () => number;
  readonly logger: LogLogger;
  /** For commands on a stopped log: they do not wait while another process writes, and pass by this mark. */
  readonly offline?: { readonly allowed?: StoreMark };
  /** Told how each question to a witness ended. */
  readonly onWitness?: (witness: string, result: string) => void;
}

/**
 * Opens the storage of the log that the settings name: a directory, or an object store with its commit point in
 * PostgreSQL, where it waits as a standby while another process writes; with a record of the last checkpoint elsewhere
 * if there is to be one, and witnesses if there are to be any. Throws AppError STARTUP.
 */
export async function openLogStorage(settings: LogStorageSettings, deps: LogStorageDeps): Promise<OpenedStorage> {
  const { witnessPolicy } = settings;
  if (witnessPolicy === undefined) return openRecorded(settings, deps);
  const { origin, key, clock, logger, onWitness } = deps;
  const policy = readWitnessPolicy(witnessPolicy, '--ctlog-witness-policy');
  const opened = await openRecorded(settings, deps);
  const onAnswer = onWitness === undefined ? {} : { onAnswer: onWitness };
  const witnessed = withWitnesses(opened.storage, { policy, origin, key, clock, logger, ...onAnswer });
  const { verifierKey } = witnessed;
  logger.info({ origin, verifierKey }, `witnesses have to know this log by its verifier key: ${verifierKey}`);
  return { ...opened, storage: witnessed, witnessed };
}

async function openRecorded(settings: LogStorageSettings, deps: LogStorageDeps): Promise<OpenedStorage> {
  const opened = await openPlace(settings, deps);
  const { storage, trouble } = opened;
  if (settings.lock === undefined) {
    // The database that holds an object store's commit point is such a record.
    if (settings.objects === undefined) deps.logger.warn(noLockRecord);
    return opened;
  }
  try {
    const { origin, number, logger } = deps;
    const record = await openLockRecord({ place: settings.lock, origin, number, storageName: storage.name });
    return { storage: withLockRecord(storage, record, { origin, logKey: createPublicKey(deps.key), logger }), trouble };
  } catch (error) {
    await storage.close();
    throw error;
  }
}

async function openPlace({ objects }: LogStorageSettings, deps: LogStorageDeps): Promise<OpenedStorage> {
  if (objects === undefined) return { storage: openDirectoryStorage(deps.directory), trouble: () => undefined };
  const { clock, logger, number, offline } = deps;
  const storage = await openObjectStorage({
    s3: storeAddress(objects, number),
    postgres: objects.postgres,
    clock,
    logger,
    waitForLease: offline === undefined,
    ...offline,
  });
  const standby = `another process writes the log in ${storage.name}; this one is its standby`;
  return { storage, trouble: () => (storage.isLeader() ? undefined : standby) };
}

/** Where in the object store the log with this number lies. Throws AppError STARTUP for an address that is none. */
export function storeAddress({ address }: { readonly address: string }, number: string): S3Address {
  return numberedAddress(parseS3Address(address, '--ctlog-storage'), number);
}
