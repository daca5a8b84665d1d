import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { openLockRecord } from '../../src/ctlog/lock-record-stores.js';
import { PostgresLease } from '../../src/ctlog/postgres-lease.js';
import { acquireLease } from '../../src/ctlog/postgres-lease-wait.js';
import { CheckpointConflict } from '../../src/ctlog/storage.js';
import { type PostgresServer, startPostgres } from './postgres-server.js';

const dir = mkdtempSync(join(tmpdir(), 'mayfly-lease-'));
const text = (content: string): Buffer => Buffer.from(content);
let server: PostgresServer;
let admin: pg.Client;
let opened: PostgresLease[] = [];
let logs = 0;
let lost: string[] = [];

beforeAll(async () => {
  chmodSync(dir, 0o755);
  server = await startPostgres(dir);
  admin = new pg.Client({ connectionString: server.url });
  await admin.connect();
}, 60_000);

afterAll(async () => {
  await admin?.end();
  await server?.close();
  await rm(dir, { recursive: true, force: true });
});

beforeEach(() => {
  logs += 1;
  lost = [];
});
afterEach(async () => {
  for (const lease of opened) await lease.close();
  opened = [];
});

async function open(holder: string, leaseMs = 60_000): Promise<PostgresLease> {
  const lease = await PostgresLease.open({
    connectionString: server.url,
    log: `log ${logs}`,
    holder,
    leaseMs,
    timeoutMs: 2_000,
    clock: Date.now,
    onLost: (reason) => lost.push(reason),
  });
  opened.push(lease);
  return lease;
}

/** Ends every connection of the log's leases, as a broken network or a restart of the server does. */
const disconnect = () =>
  admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [
    `mayfly log log ${logs}`,
  ]);
const expire = () => admin.query("UPDATE mayfly_log SET expires = '-infinity' WHERE log = $1", [`log ${logs}`]);

test('one of many has the lease, and the others are told who', async () => {
  const leases = await Promise.all(['a', 'b', 'c', 'd'].map((holder) => open(holder)));
  const found = await Promise.all(leases.map((lease) => lease.acquire()));
  expect(found.filter((one) => one === 'acquired')).toHaveLength(1);
  const [other] = found.filter((one) => one !== 'acquired');
  expect(other?.holder).toMatch(/^[abcd]$/);
  expect(other?.expiresInMs).toBeGreaterThan(50_000);
  expect(leases.filter((lease) => lease.isHeld())).toHaveLength(1);
});

test('the checkpoint is replaced only by the holder, and only if it is the expected one', async () => {
  const a = await open('a');
  await a.acquire();
  expect(await a.load()).toBeUndefined();
  await a.replace(undefined, text('1'));
  await expect(a.replace(undefined, text('2'))).rejects.toThrow(CheckpointConflict);
  await a.replace(text('1'), text('2'));
  await expect(a.replace(text('1'), text('3'))).rejects.toThrow(/not the one this writer last saw/);
  expect(await a.load()).toEqual(text('2'));
  expect(lost).toEqual([]);
});

test('a replacement that is sent a second time does no harm', async () => {
  const a = await open('a');
  await a.acquire();
  await a.replace(undefined, text('1'));
  await a.replace(undefined, text('1'));
  expect(await a.load()).toEqual(text('1'));
});

test('a holder whose lease ran out can commit until somebody takes it, and never again after', async () => {
  const [a, b] = [await open('a'), await open('b')];
  await a.acquire();
  await a.replace(undefined, text('1'));
  await expire();
  await a.replace(text('1'), text('2'));
  await expire();
  expect(await b.acquire()).toBe('acquired');
  await expect(a.replace(text('2'), text('3'))).rejects.toThrow(/lost the writer's lease of log \d+ to b/);
  await expect(a.replace(text('2'), text('3'))).rejects.toThrow(CheckpointConflict);
  await expect(a.load()).rejects.toThrow(CheckpointConflict);
  await expect(a.confirm()).rejects.toThrow(CheckpointConflict);
  expect(a.isHeld()).toBe(false);
  expect(lost).toHaveLength(1);
  expect(await b.load()).toEqual(text('2'));
});

test('each reading of the state grows the epoch, which shuts out what was sent before it', async () => {
  const a = await open('a');
  await a.acquire();
  const { epoch } = a;
  await a.load();
  expect(a.epoch).toBe(epoch + 1n);
  const { rows } = await admin.query('SELECT epoch FROM mayfly_log WHERE log = $1', [`log ${logs}`]);
  expect(BigInt(rows[0].epoch)).toBe(a.epoch);
});

test('a holder whose connection breaks keeps the lease when it comes back', async () => {
  const [a, b] = [await open('a'), await open('b')];
  await a.acquire();
  await a.replace(undefined, text('1'));
  await disconnect();
  await a.replace(text('1'), text('2'));
  await b.acquire();
  expect(lost).toEqual([]);
  await a.replace(text('2'), text('3'));
  expect(await a.load()).toEqual(text('3'));
});

test('a standby need not wait for a lease whose holder is gone', async () => {
  const [a, b] = [await open('a'), await open('b')];
  const killed = new pg.Client({ connectionString: server.url });
  await killed.connect();
  await a.acquire();
  // The connection of the holder is another process's from here on, and that process dies.
  const { rows } = await killed.query(`SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()`);
  await admin.query('UPDATE mayfly_log SET session_pid = $2, session_start = $3 WHERE log = $1', [
    `log ${logs}`,
    rows[0].pid,
    rows[0].backend_start,
  ]);
  await killed.end();
  while ((await b.acquire()) !== 'acquired') await sleep(10);
  expect(b.isHeld()).toBe(true);
});

test('a lease that is given back is free at once, and one that is held is refused or waited for', async () => {
  const [a, b] = [await open('a'), await open('b')];
  await a.acquire();
  const waited: string[] = [];
  const wait = { pollMs: 10, onWait: ({ holder }: { holder: string }) => waited.push(holder), onError: () => {} };
  await expect(acquireLease(b, { ...wait, waitForLease: false })).rejects.toMatchObject({
    code: 'STARTUP',
    message: expect.stringMatching(
      /^the log is in use by a, whose lease at 127\.0\.0\.1:\d+\/postgres lasts \d+ s more/,
    ),
  });
  const taken = acquireLease(b, { ...wait, waitForLease: true });
  while (waited.length === 0) await sleep(5);
  await a.close();
  await taken;
  expect(waited).toEqual(['a']);
  expect(b.isHeld()).toBe(true);
});

test('a wait that is ended says so', async () => {
  const [a, b] = [await open('a'), await open('b')];
  await a.acquire();
  const ended = new AbortController();
  const wait = { pollMs: 60_000, waitForLease: true, onWait: () => ended.abort(), onError: () => {} };
  await expect(acquireLease(b, { ...wait, signal: ended.signal })).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
});

test('an idle holder renews its lease', async () => {
  const [a, b] = [await open('a', 300), await open('b', 300)];
  await a.acquire();
  const until = Date.now() + 900;
  while (Date.now() < until) {
    expect(await b.acquire()).not.toBe('acquired');
    await sleep(50);
  }
  expect(a.isHeld()).toBe(true);
});

test('a database that cannot be reached is named without its password', async () => {
  const connectionString = 'postgres://mayfly:secret@127.0.0.1:1/postgres';
  const failed = PostgresLease.open({
    ...{ connectionString, log: 'x', holder: 'x', leaseMs: 1_000, timeoutMs: 200 },
    ...{ clock: Date.now, onLost: () => {} },
  });
  await expect(failed).rejects.toThrow(/^PostgreSQL at 127\.0\.0\.1:1\/postgres: /);
  await expect(failed).rejects.not.toThrow(/secret/);
});

test('the last checkpoint is recorded in a database, and a second log on the same record is found out', async () => {
  const place = { place: server.url, origin: 'ca.example.com/ctlog', storageName: '/log' };
  const [one, copy] = [await openLockRecord(place), await openLockRecord(place)];
  expect(await one.load()).toBeUndefined();
  await one.replace(undefined, text('1'));
  expect(await copy.load()).toEqual(text('1'));
  await one.replace(text('1'), text('2'));
  await one.replace(text('1'), text('2'));
  await expect(copy.replace(text('1'), text('another 2'))).rejects.toThrow(CheckpointConflict);
  expect(await copy.load()).toEqual(text('2'));
  await Promise.all([one.close(), copy.close()]);
});
