import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { type Copied, copyLog } from '../ctlog/copy.js';
import { openDirectoryStorage } from '../ctlog/directory-storage.js';
import { withLockRecord } from '../ctlog/lock-record.js';
import { openLockRecord } from '../ctlog/lock-record-stores.js';
import { markMoved } from '../ctlog/moved.js';
import { openObjectStorage } from '../ctlog/object-storage.js';
import { identityOf, type LogIdentity } from '../ctlog/recovery.js';
import { requireLog, settleRotation } from '../ctlog/rotate.js';
import { numberedAddress, parseS3Address, s3Name } from '../ctlog/s3-address.js';
import { placeOf, readShards, refuseFrozen, type ShardPlace } from '../ctlog/shards.js';
import type { LogStorage } from '../ctlog/storage.js';
import { AppError } from '../errors.js';
import { declareServeFlags, flagsGiven } from './flag-options.js';
import { type OfflineOptions, offlineOptions, openOffline } from './log-options.js';
import { createProgress } from './log-progress.js';
import { type CommandIo, processIo } from './request-io.js';

export interface CopyCommandOptions extends OfflineOptions {
  /** Directory of the log, if not the one the server uses. */
  readonly from?: string | undefined;
  /** False with --no-precertificates. */
  readonly precertificates?: boolean | undefined;
}

const flags = ['data-dir', 'ctlog-dir', 'ctlog-postgres', 'ctlog-lock'] as const;

const help = `
Moves the log in use from its directory into an S3-compatible object store, with the commit point in PostgreSQL. The log
stays the same one: key, origin, URL, SCTs and proofs. Stop the server, run this, start the server with
--ctlog-storage and --ctlog-postgres.

The log is checked from its first entry, uploaded, marked in its directory as moved, and committed in the database, in this
order. A run that is cut short is run again: what is there already is compared and left. From the mark on no server
writes in the directory any more; until the commit none begins in the store. There is no way back into a directory.

Credentials come from the usual AWS environment. Give --ctlog-lock as the server has it. Frozen logs stay where they are.

Example:
  mayfly log copy --data-dir ./data --to 's3://bucket/ctlog?region=eu-central-1' --ctlog-postgres postgres://mayfly@db/mayfly
`;

/** `mayfly log copy`: moves the log from its directory into an object store. */
export function registerLogCopy(log: Command, done: (code: number) => void): void {
  const command = log
    .command('copy')
    .description('move the log from its directory into an object store; the server must be stopped')
    .requiredOption('--to <address>', 's3://bucket/prefix?region=…&endpoint=…&path-style=true: where the log is to be')
    .option('--from <directory>', 'directory of the log, if not the one that the server uses')
    .option(
      '--no-precertificates',
      'do not check the precertificates and their signatures, which takes most of the time',
    );
  declareServeFlags(command, flags);
  command.addHelpText('after', help);
  command.action(async ({ from, precertificates }: Pick<CopyCommandOptions, 'from' | 'precertificates'>) => {
    const { to = '' } = flagsGiven(command);
    parseS3Address(to, '--to');
    const options = offlineOptions(command, flags, process.env, { 'ctlog-storage': to });
    await copyCommand({ ...options, from, precertificates }, processIo());
    done(0);
  });
}

/** Moves and prints; throws AppError STARTUP when there is no log, somebody uses it, or its new place is not empty. */
export async function copyCommand(
  options: CopyCommandOptions,
  io: Pick<CommandIo, 'out' | 'err' | 'now' | 'interactive'>,
): Promise<void> {
  const { objects, dataDir } = options;
  if (objects === undefined) throw new AppError('STARTUP', '--to and --ctlog-postgres are missing');
  const clock = (): number => io.now().getTime();
  const base = await openOffline(options, clock);
  const key = await settleRotation(base, base.logKey);
  const { current } = await readShards(dataDir);
  const own = placeOf(current.name, base);
  const place = options.from === undefined ? own : { ...own, directory: resolve(options.from) };
  requireNoOther(own, place);
  await requireLog(place);
  await refuseFrozen(place.directory);
  const address = numberedAddress(parseS3Address(objects.address, '--to'), place.number);
  const name = s3Name(address);
  const identity = identityOf(place.origin, key);
  const say = (_context: unknown, message?: unknown): void => io.err(`${String(message ?? '')}\n`);
  const logger = { info: () => {}, warn: say, error: say };

  const source = await openSource(place, { name, identity, lock: options.ctlogLock, logger });
  const progress = { checking: newProgress('checking', io, clock), copying: newProgress('copying', io, clock) };
  let copied: Copied;
  try {
    const { postgres } = objects;
    const store = { s3: address, postgres, clock, logger, waitForLease: false, allowed: 'copying' } as const;
    const target = await openObjectStorage(store);
    try {
      copied = await copyLog({
        source,
        target,
        identity,
        clock,
        precertificates: options.precertificates !== false,
        markMoved: async () => {
          for (const directory of new Set([place.directory, own.directory])) await markMoved(directory, name);
        },
        progress: (step, entries, total) => progress[step].update(entries, total),
      });
    } finally {
      await target.close();
    }
  } finally {
    progress.checking.end();
    progress.copying.end();
    await source.close();
  }
  io.out(
    `moved  ${place.url}\n  from       ${place.directory}\n  to         ${name}\n  entries    ${copied.size}\n` +
      `  root hash  ${Buffer.from(copied.root).toString('hex')}\n` +
      'Start the server now, with --ctlog-storage and --ctlog-postgres.\n',
  );
}

/** Throws AppError STARTUP when the server would still find the log in its own directory, of which `from` is a copy. */
function requireNoOther(own: ShardPlace, from: ShardPlace): void {
  if (own.directory === from.directory || !existsSync(join(own.directory, '.writer', 'committed'))) return;
  throw new AppError(
    'STARTUP',
    `--from is ${from.directory}, but the server's own directory, ${own.directory}, holds the log too, and two copies must ` +
      'not both go on: leave --from out, or move the one that is not to be used away',
  );
}

function newProgress(step: string, { err, interactive }: Pick<CommandIo, 'err' | 'interactive'>, clock: () => number) {
  return createProgress(`${step} entries`, { err, interactive, clock });
}

interface SourceOptions {
  /** Of the place that it may have been moved to by an earlier run. */
  readonly name: string;
  readonly identity: LogIdentity;
  readonly lock: string | undefined;
  readonly logger: { warn(context: unknown, message?: unknown): void };
}

/** Takes the writer's lock; an old backup is noticed as the server would. */
async function openSource({ directory, origin, number }: ShardPlace, options: SourceOptions): Promise<LogStorage> {
  const storage = openDirectoryStorage(directory, { movedTo: options.name });
  if (options.lock === undefined) return storage;
  try {
    const record = await openLockRecord({ place: options.lock, origin, number, storageName: directory });
    return withLockRecord(storage, record, { origin, logKey: options.identity.publicKey, logger: options.logger });
  } catch (error) {
    await storage.close();
    throw error;
  }
}
