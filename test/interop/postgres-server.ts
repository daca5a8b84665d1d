import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { cleanEnv } from './command.js';
import { freePort } from './server-process.js';

const debianDir = '/usr/lib/postgresql';
const readyWithinMs = 30_000;
/** nobody: PostgreSQL refuses to run as root. */
const unprivileged = { uid: 65_534, gid: 65_534 };

/** A PostgreSQL server of a test's own. */
export interface PostgresServer {
  readonly url: string;
  readonly pid: number;
  close(): Promise<void>;
}

/** Directory of Debian's PostgreSQL programs; throws, saying what to install, when there are none. */
function programs(): string {
  const [newest] = existsSync(debianDir) ? readdirSync(debianDir).sort((a, b) => Number(b) - Number(a)) : [];
  if (newest !== undefined) return join(debianDir, newest, 'bin');
  throw new Error(`there is no PostgreSQL in ${debianDir}; run: apt-get install -y postgresql`);
}

/** Makes a database cluster in `dir`, which every user must be able to enter, and starts it on a free port of 127.0.0.1. */
export async function startPostgres(dir: string): Promise<PostgresServer> {
  const bin = programs();
  const data = join(dir, 'postgres');
  const as: Partial<typeof unprivileged> = process.getuid?.() === 0 ? unprivileged : {};
  mkdirSync(data, { mode: 0o700 });
  if (as === unprivileged) chownSync(data, unprivileged.uid, unprivileged.gid);
  const env = cleanEnv(data);
  execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'mayfly', '-A', 'trust', '-E', 'UTF8'], { ...as, env });
  const port = await freePort();
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=50'];
  const args = ['-D', data, '-p', `${port}`, ...settings.flatMap((setting) => ['-c', setting])];
  const child = spawn(join(bin, 'postgres'), args, { ...as, env, stdio: 'ignore' });
  const ended = once(child, 'exit');
  const url = `postgres://mayfly@127.0.0.1:${port}/postgres`;
  const close = async () => {
    child.kill('SIGINT'); // the "fast" shutdown, which does not wait for clients
    await ended;
  };
  const deadline = Date.now() + readyWithinMs;
  while (!(await answers(url))) {
    if (Date.now() > deadline || child.exitCode !== null) {
      await close();
      throw new Error(`PostgreSQL in ${data} did not start`);
    }
    await sleep(50);
  }
  return { url, pid: child.pid ?? -1, close };
}

async function answers(connectionString: string): Promise<boolean> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}
