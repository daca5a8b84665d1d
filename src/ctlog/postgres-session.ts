import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { messageOf } from '../errors.js';

export interface PostgresSessionOptions {
  /** `postgres://user:password@host:port/database?…`; what it leaves out comes from the PG… environment variables. */
  readonly connectionString: string;
  /** What the server shows in pg_stat_activity. */
  readonly applicationName: string;
  /** Longest time one attempt may take, to connect or to run a statement. */
  readonly timeoutMs: number;
  /** Attempts of one `query` when the connection fails; 3 unless told. */
  readonly attempts?: number;
  /** Gives a statement that is run on each new connection before anything else. */
  readonly prepare?: () => { readonly sql: string; readonly values: readonly unknown[] } | undefined;
  /** The connection was lost while nothing was being asked of it. */
  readonly onDisconnect?: () => void;
}

export interface PostgresResult {
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  readonly rowCount: number;
}

/** A statement failed: `mayBePersisted` when it may have been carried out nevertheless, or still be. */
export class PostgresError extends Error {
  override readonly name = 'PostgresError';
  readonly mayBePersisted: boolean;

  constructor(message: string, options: { cause: unknown; mayBePersisted: boolean }) {
    super(message, { cause: options.cause });
    this.mayBePersisted = options.mayBePersisted;
  }
}

/**
 * SQLSTATEs after which another attempt may succeed: connection exceptions (class 08), too few resources (53), the
 * server shutting down or starting (57P01 to 57P03), serialization failures and deadlocks (class 40), and a server that
 * only reads (25006), which is what a former primary is until its address leads to the new one.
 */
const transient = /^(08...|53...|57P0[123]|40...|25006)$/;
const retryDelaysMs = [50, 250];

/**
 * One connection to PostgreSQL that is made anew when it breaks. A statement that fails with its connection is sent
 * again, so every statement must be harmless when it is carried out twice. A transaction that this server reported as
 * committed is durable: `synchronous_commit = off` is overruled.
 */
export class PostgresSession {
  /** Host and database, without user and password. */
  readonly name: string;
  readonly #options: PostgresSessionOptions;
  #client: Promise<pg.Client> | undefined;
  /** What `#client` resolved to, unless it broke since. */
  #current: pg.Client | undefined;
  #closed = false;

  constructor(options: PostgresSessionOptions) {
    this.#options = options;
    this.name = addressOf(options.connectionString);
  }

  /** Runs one statement in a transaction of its own; throws PostgresError after the last attempt. */
  async query(sql: string, values: readonly unknown[] = []): Promise<PostgresResult> {
    const attempts = this.#options.attempts ?? 3;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#try(sql, values);
      } catch (cause) {
        const again = attempt < attempts && !this.#closed && isTransient(cause);
        if (again) await sleep(retryDelaysMs[attempt - 1] ?? 250);
        else throw this.#error(cause);
      }
    }
  }

  /** Ends the connection. */
  async close(): Promise<void> {
    this.#closed = true;
    const client = await this.#client?.catch(() => undefined);
    this.#client = undefined;
    await client?.end().catch(() => {});
  }

  async #try(sql: string, values: readonly unknown[]): Promise<PostgresResult> {
    const client = await this.#connected();
    try {
      const { rows, rowCount } = await client.query(sql, [...values]);
      return { rows, rowCount: rowCount ?? 0 };
    } catch (error) {
      // Without an SQLSTATE the server's answer is unknown; the connection may still carry that statement.
      if (sqlStateOf(error) === undefined || isTransient(error)) this.#drop(client);
      throw error;
    }
  }

  async #connected(): Promise<pg.Client> {
    if (this.#closed) throw new Error('the connection was closed');
    this.#client ??= this.#connect().catch((error: unknown) => {
      this.#client = undefined;
      throw error;
    });
    return this.#client;
  }

  async #connect(): Promise<pg.Client> {
    const { connectionString, applicationName, timeoutMs, prepare } = this.#options;
    const client = new pg.Client({
      connectionString,
      application_name: applicationName,
      connectionTimeoutMillis: timeoutMs,
      // The server gives up first, and then it is known that nothing was done.
      statement_timeout: timeoutMs,
      query_timeout: timeoutMs + 500,
      keepAlive: true,
    });
    client.on('error', () => this.#drop(client));
    client.on('end', () => this.#drop(client));
    try {
      await client.connect();
      await client.query(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
      );
      const statement = prepare?.();
      if (statement !== undefined) await client.query(statement.sql, [...statement.values]);
    } catch (error) {
      // Not awaited: a server that hangs would hold it up.
      client.end().catch(() => {});
      throw error;
    }
    this.#current = client;
    return client;
  }

  #drop(client: pg.Client): void {
    if (this.#current !== client) return;
    this.#current = undefined;
    this.#client = undefined;
    client.end().catch(() => {});
    if (!this.#closed) this.#options.onDisconnect?.();
  }

  #error(cause: unknown): PostgresError {
    const state = sqlStateOf(cause);
    const text = `PostgreSQL at ${this.name}: ${messageOf(cause)}${state === undefined ? '' : ` (SQLSTATE ${state})`}`;
    return new PostgresError(text, { cause, mayBePersisted: state === undefined || isTransient(cause) });
  }
}

function sqlStateOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  const code = String(error.code);
  return /^[0-9A-Z]{5}$/.test(code) && 'severity' in error ? code : undefined;
}

function isTransient(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state === undefined || transient.test(state);
}

/** Host, port and database of a connection string, for messages. */
function addressOf(connectionString: string): string {
  try {
    const { host, pathname } = new URL(connectionString);
    return `${host === '' ? 'localhost' : host}${pathname}`;
  } catch {
    return 'the given address';
  }
}
