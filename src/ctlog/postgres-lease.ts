import { randomUUID } from 'node:crypto';
import { type PostgresResult, PostgresSession } from './postgres-session.js';
import { CheckpointConflict } from './storage.js';

export interface PostgresLeaseOptions {
  readonly connectionString: string;
  /** Which log: one row of the table `mayfly_log`. */
  readonly log: string;
  /** Who this process is, for messages: host name and process id. */
  readonly holder: string;
  /** How long the lease outlives its last renewal, by the database's clock. */
  readonly leaseMs: number;
  /** Longest time of one attempt of one statement. */
  readonly timeoutMs: number;
  /** Milliseconds since the epoch; only `isHeld` goes by it. */
  readonly clock: () => number;
  /** Called once each time the lease is found to be lost. */
  readonly onLost: (reason: string) => void;
}

/** What the table says about the lease. */
export interface LeaseHolder {
  readonly holder: string;
  /** Milliseconds until the lease may be taken, by the database's clock. */
  readonly expiresInMs: number;
}

/** One simple query, so one transaction; the lock because two CREATE TABLE IF NOT EXISTS at once may still collide. */
const createTable = `
SELECT pg_advisory_xact_lock(hashtext('mayfly_log'));
CREATE TABLE IF NOT EXISTS mayfly_log (
  log text PRIMARY KEY,
  id text NOT NULL,
  checkpoint bytea,
  epoch bigint NOT NULL DEFAULT 0,
  owner text NOT NULL DEFAULT '',
  holder text NOT NULL DEFAULT '',
  expires timestamptz NOT NULL DEFAULT '-infinity',
  session_pid integer,
  session_start timestamptz
)`;

/** By the database's clock, so that those of the writers do not matter. */
const renewed = "expires = clock_timestamp() + $3 * interval '1 millisecond'";
/** The connection that this statement came on: when it ends, its process is gone. */
const session = `session_pid = pg_backend_pid(),
  session_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())`;
const own = 'log = $1 AND owner = $2';
const sql = {
  addRow: 'INSERT INTO mayfly_log (log, id) VALUES ($1, $2) ON CONFLICT (log) DO NOTHING',
  identify: 'SELECT id FROM mayfly_log WHERE log = $1',
  // backend_start is hidden from other roles: a connection that cannot be told apart counts as alive.
  acquire: `UPDATE mayfly_log SET epoch = epoch + 1, owner = $2, holder = $4, ${renewed}, ${session}
    WHERE log = $1 AND (owner = $2 OR expires <= clock_timestamp() OR NOT EXISTS (
      SELECT FROM pg_stat_activity a WHERE a.pid = mayfly_log.session_pid
        AND (a.backend_start IS NULL OR a.backend_start = mayfly_log.session_start)))
    RETURNING epoch`,
  renew: `UPDATE mayfly_log SET ${renewed}, ${session} WHERE ${own}`,
  load: `UPDATE mayfly_log SET epoch = epoch + 1, ${renewed} WHERE ${own} RETURNING epoch, checkpoint`,
  // Content with finding the new checkpoint under its own epoch: an earlier attempt of the same statement wrote it.
  replace: `UPDATE mayfly_log SET checkpoint = $6, ${renewed}
    WHERE ${own} AND epoch = $4 AND (checkpoint IS NOT DISTINCT FROM $5 OR checkpoint = $6)`,
  release: `UPDATE mayfly_log SET epoch = epoch + 1, owner = '', holder = '', expires = '-infinity' WHERE ${own}`,
  holder: `SELECT owner, epoch, holder, extract(epoch FROM greatest(expires, clock_timestamp()) - clock_timestamp()) * 1000 AS remaining
    FROM mayfly_log WHERE log = $1`,
} as const;

/**
 * The committed checkpoint of a log and the lease of its one writer, in one row of a PostgreSQL table.
 *
 * The lease's time only decides when somebody else may take it. What keeps a writer that lost it from committing is the
 * epoch (a fencing token): it grows each time the lease changes hands, and each commit compares it, with the old
 * checkpoint, in the same statement that writes the new one. So a writer that was paused for longer than its lease
 * finds no row to change. The epoch also grows on each `load`, so that a statement of this process itself, given up but
 * still on its way, changes nothing after the state was read.
 *
 * A standby need not wait for the lease to run out when the writer's connection has ended: the operating system ends
 * the connections of a killed process. Statements are committed with `synchronous_commit` on: durable when they resolve.
 */
export class PostgresLease {
  readonly name: string;
  /** A random name of the row, made with it: a database that was lost and made anew has another one. */
  readonly id: string;
  readonly #options: PostgresLeaseOptions;
  readonly #session: PostgresSession;
  /** This object among all that ever used the row. */
  readonly #owner: string;
  #epoch: bigint | undefined;
  #heldUntil = 0;
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<void> | undefined;

  private constructor(options: PostgresLeaseOptions, { session, id }: { session: PostgresSession; id: string }) {
    this.#options = options;
    this.#session = session;
    this.#owner = randomUUID();
    this.id = id;
    this.name = session.name;
  }

  /** Connects, and makes table and row if they are missing; takes no lease. Throws PostgresError. */
  static async open(options: PostgresLeaseOptions): Promise<PostgresLease> {
    // The connection speaks for the lease, which is made after it.
    const made: { lease?: PostgresLease } = {};
    const connection = new PostgresSession({
      connectionString: options.connectionString,
      applicationName: `mayfly log ${options.log}`.slice(0, 63),
      timeoutMs: options.timeoutMs,
      prepare: () => made.lease?.renewal(),
      onDisconnect: () => void made.lease?.renew().catch(() => {}),
    });
    try {
      const { rows } = await connection.query("SELECT to_regclass('mayfly_log') IS NOT NULL AS there");
      if (rows[0]?.there !== true) await connection.query(createTable);
      await connection.query(sql.addRow, [options.log, randomUUID()]);
      const found = await connection.query(sql.identify, [options.log]);
      made.lease = new PostgresLease(options, { session: connection, id: String(found.rows[0]?.id) });
      return made.lease;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** The fencing token: grows with each holder and each `load`. Throws CheckpointConflict when the lease is not held. */
  get epoch(): bigint {
    if (this.#epoch !== undefined) return this.#epoch;
    throw new CheckpointConflict(`this process does not hold the writer's lease of ${this.#options.log}`);
  }

  /** Whether, as far as this process knows, nobody else may have taken the lease yet. */
  isHeld(): boolean {
    return this.#epoch !== undefined && this.#options.clock() < this.#heldUntil;
  }

  /** Takes the lease if it is free, has run out, or its holder's connection has ended; otherwise says who holds it. */
  async acquire(): Promise<'acquired' | LeaseHolder> {
    const asked = this.#options.clock();
    const { rows } = await this.#run(sql.acquire, this.#options.holder);
    if (rows[0] !== undefined) {
      this.#hold(rows[0], asked);
      return 'acquired';
    }
    const now = await this.#look();
    return { holder: now.holder, expiresInMs: Math.max(0, now.remainingMs) };
  }

  /**
   * The committed checkpoint. Whatever this process sent before can change nothing from here on. Throws
   * CheckpointConflict when the lease is lost, PostgresError when that cannot be found out.
   */
  async load(): Promise<Uint8Array | undefined> {
    const asked = this.#options.clock();
    const { rows } = await this.#run(sql.load);
    const row = rows[0] ?? (await this.#conflict());
    this.#hold(row, asked);
    return row.checkpoint instanceof Uint8Array ? row.checkpoint : undefined;
  }

  /**
   * Replaces the committed checkpoint if it is still `expected` and the lease is still this process's, in one
   * statement. Durable when it resolves. Throws CheckpointConflict, changing nothing, when it is not; after a
   * PostgresError it is unknown, until the next `load`, whether it was replaced.
   */
  async replace(expected: Uint8Array | undefined, next: Uint8Array): Promise<void> {
    const asked = this.#options.clock();
    const old = expected === undefined ? null : Buffer.from(expected);
    const { rowCount } = await this.#run(sql.replace, this.epoch, old, Buffer.from(next));
    if (rowCount === 0) await this.#conflict();
    this.#heldUntil = asked + this.#options.leaseMs;
  }

  /** Asks the database whether the lease is still this process's; throws CheckpointConflict when it is not. */
  async confirm(): Promise<void> {
    const { epoch } = this;
    const now = await this.#look();
    if (now.owner !== this.#owner || now.epoch !== epoch) await this.#conflict();
  }

  /** Renews the lease now; done by itself three times a lease and whenever the connection was lost. */
  async renew(): Promise<void> {
    this.#renewing ??= this.#renewNow().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  /** The statement that renews the lease, for a new connection; undefined when there is none to renew. */
  renewal(): { readonly sql: string; readonly values: readonly unknown[] } | undefined {
    const { log, leaseMs } = this.#options;
    return this.#epoch === undefined ? undefined : { sql: sql.renew, values: [log, this.#owner, leaseMs] };
  }

  /** Gives the lease back, so that a standby takes over at once, and disconnects. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    const held = this.#epoch !== undefined;
    this.#epoch = undefined;
    try {
      if (held) await this.#session.query(sql.release, [this.#options.log, this.#owner]);
    } catch {
      // It runs out by itself.
    } finally {
      await this.#session.close();
    }
  }

  async #renewNow(): Promise<void> {
    if (this.#epoch === undefined) return;
    const asked = this.#options.clock();
    const { rowCount } = await this.#run(sql.renew);
    if (rowCount === 0) await this.#conflict();
    this.#heldUntil = asked + this.#options.leaseMs;
  }

  #run(statement: string, ...more: readonly unknown[]): Promise<PostgresResult> {
    return this.#session.query(statement, [this.#options.log, this.#owner, this.#options.leaseMs, ...more]);
  }

  async #look(): Promise<{ owner: string; epoch: bigint; holder: string; remainingMs: number }> {
    const [row] = (await this.#session.query(sql.holder, [this.#options.log])).rows;
    return {
      owner: String(row?.owner ?? ''),
      epoch: BigInt(String(row?.epoch ?? 0)),
      holder: String(row?.holder ?? ''),
      remainingMs: Number(row?.remaining ?? 0),
    };
  }

  /** Finds out why no row was changed. */
  async #conflict(): Promise<never> {
    const { log } = this.#options;
    const { owner, holder } = await this.#look();
    if (owner === this.#owner) {
      throw new CheckpointConflict(`the committed checkpoint of ${log} is not the one this writer last saw`);
    }
    const reason = `this process has lost the writer's lease of ${log}${holder === '' ? '' : ` to ${holder}`}`;
    this.#lose(reason);
    throw new CheckpointConflict(reason);
  }

  #hold(row: Readonly<Record<string, unknown>>, asked: number): void {
    this.#epoch = BigInt(String(row.epoch));
    this.#heldUntil = asked + this.#options.leaseMs;
    this.#timer ??= setInterval(() => void this.renew().catch(() => {}), this.#options.leaseMs / 3).unref();
  }

  #lose(reason: string): void {
    if (this.#epoch === undefined) return;
    this.#epoch = undefined;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#options.onLost(reason);
  }
}

/** The lease as the storage needs it. */
export type WriterLease = Pick<
  PostgresLease,
  'name' | 'id' | 'epoch' | 'isHeld' | 'acquire' | 'load' | 'replace' | 'confirm' | 'close'
>;
