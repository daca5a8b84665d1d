import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { AppError, messageOf } from '../errors.js';
import { makeDirectories, readIfExists, replaceFile, syncPath } from './durable-file.js';
import type { CheckpointRecord } from './lock-record.js';
import { PostgresSession } from './postgres-session.js';
import { CheckpointConflict } from './storage.js';

export interface LockRecordPlace {
  /** Path of a file, of a directory for records of several logs, or a `postgres://` URL. */
  readonly place: string;
  /** Which log it is for. */
  readonly origin: string;
  /** Follows the name of a file, so that the logs of an instance that was rotated have one each. */
  readonly number?: string;
  /** Name of the log's storage: a record inside a log's directory would be restored with it, and is refused. */
  readonly storageName: string;
  /** Longest time of one attempt of one statement of PostgreSQL; 5 s unless told. */
  readonly timeoutMs?: number;
}

/** Opens the record that `--ctlog-lock` names; throws AppError STARTUP when it cannot be used. */
export async function openLockRecord(options: LockRecordPlace): Promise<CheckpointRecord> {
  const isDatabase = /^postgres(ql)?:/.test(options.place);
  try {
    return isDatabase ? await openPostgresRecord(options) : openFileRecord(options);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    const where = isDatabase ? '' : ` in ${options.place}`;
    throw new AppError('STARTUP', `--ctlog-lock: the last checkpoint cannot be kept${where}: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function openFileRecord({ place, origin, number = '', storageName }: LockRecordPlace): CheckpointRecord {
  const isDirectory = place.endsWith(sep) || statSync(place, { throwIfNoEntry: false })?.isDirectory() === true;
  const name = `${createHash('sha256').update(origin).digest('hex').slice(0, 16)}.checkpoint`;
  const path = resolve(isDirectory ? join(place, name) : `${place}${number}`);
  if (path.startsWith(resolve(storageName) + sep)) {
    const why = 'a backup that puts the log back would put the record back too; keep it on another disk or machine';
    throw new AppError('STARTUP', `--ctlog-lock: ${path} is inside the directory of the log: ${why}`);
  }
  makeDirectories(dirname(path), 0o700);
  return {
    name: path,
    load: () => readIfExists(path),
    async replace(expected, next) {
      requireUnchanged(path, await readIfExists(path), expected, next);
      await replaceFile(path, `${path}.new`, next, { mode: 0o600, sync: true });
      await syncPath(dirname(path));
    },
    close: async () => {},
  };
}

/** Not atomic with the write that follows: only the database can keep apart two logs that write at the same instant. */
function requireUnchanged(
  name: string,
  found: Uint8Array | undefined,
  expected: Uint8Array | undefined,
  next: Uint8Array,
): void {
  const same = (other: Uint8Array | undefined) =>
    found === undefined || other === undefined ? found === other : Buffer.compare(found, other) === 0;
  if (!same(expected) && !same(next)) throw changed(name);
}

/** One simple query, so one transaction; the lock because two CREATE TABLE IF NOT EXISTS at once may still collide. */
const createTable = `
SELECT pg_advisory_xact_lock(hashtext('mayfly_last_checkpoint'));
CREATE TABLE IF NOT EXISTS mayfly_last_checkpoint (
  origin text PRIMARY KEY,
  checkpoint bytea NOT NULL,
  recorded timestamptz NOT NULL DEFAULT now()
)`;
const load = 'SELECT checkpoint FROM mayfly_last_checkpoint WHERE origin = $1';
// Content with finding the new checkpoint: an earlier attempt of the same statement wrote it.
const replace = `INSERT INTO mayfly_last_checkpoint AS last (origin, checkpoint) VALUES ($1, $3)
  ON CONFLICT (origin) DO UPDATE SET checkpoint = $3, recorded = now()
  WHERE last.checkpoint IS NOT DISTINCT FROM $2::bytea OR last.checkpoint = $3`;

async function openPostgresRecord({ place, origin, timeoutMs = 5_000 }: LockRecordPlace): Promise<CheckpointRecord> {
  const session = new PostgresSession({
    connectionString: place,
    applicationName: 'mayfly last checkpoint',
    timeoutMs,
  });
  try {
    const { rows } = await session.query("SELECT to_regclass('mayfly_last_checkpoint') IS NOT NULL AS there");
    if (rows[0]?.there !== true) await session.query(createTable);
  } catch (error) {
    await session.close();
    throw error;
  }
  const name = `the database ${session.name}`;
  return {
    name,
    async load() {
      const [row] = (await session.query(load, [origin])).rows;
      return row?.checkpoint instanceof Uint8Array ? row.checkpoint : undefined;
    },
    async replace(expected, next) {
      const old = expected === undefined ? null : Buffer.from(expected);
      const { rowCount } = await session.query(replace, [origin, old, Buffer.from(next)]);
      if (rowCount === 0) throw changed(name);
    },
    close: () => session.close(),
  };
}

function changed(name: string): CheckpointConflict {
  return new CheckpointConflict(
    `the last checkpoint recorded in ${name} is not the one this log wrote there: another log, or a copy of this one, ` +
      'uses the same record',
  );
}
