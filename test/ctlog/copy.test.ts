import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { checkLog } from '../../src/ctlog/check.js';
import { copyLog } from '../../src/ctlog/copy.js';
import { tilesToCopy } from '../../src/ctlog/copy-tiles.js';
import { openDirectoryStorage } from '../../src/ctlog/directory-storage.js';
import { markMoved, movedTo, requireMoved } from '../../src/ctlog/moved.js';
import { readObjectStore } from '../../src/ctlog/object-storage.js';
import { ObjectLogStorage } from '../../src/ctlog/object-storage-operations.js';
import { identityOf } from '../../src/ctlog/recovery.js';
import { formatS3Address, numberedAddress, parseS3Address } from '../../src/ctlog/s3-address.js';
import { openS3 } from '../../src/ctlog/s3-objects.js';
import { tileIn, tilePath } from '../../src/ctlog/tiles.js';
import { newLogKey, openLog, origin, silent, submission, temporaryDirectory } from './fixtures.js';
import { type FakeRow, type FakeS3, fakeLease, startFakeS3 } from './object-storage-fakes.js';

const key = newLogKey();
const publicKey = createPublicKey(key);
const to = 's3://bucket/log';
let directory: ReturnType<typeof temporaryDirectory>;
let fake: FakeS3;
let row: FakeRow;

beforeEach(async () => {
  directory = temporaryDirectory();
  fake = await startFakeS3();
  row = { epoch: 0n, owner: undefined, checkpoint: undefined };
});
afterEach(async () => {
  await fake.close();
  directory.dispose();
});

const place = () => join(directory.path, 'log');

async function openTarget(allowed?: 'copying'): Promise<ObjectLogStorage> {
  const lease = fakeLease(row);
  lease.steal();
  return new ObjectLogStorage(
    await openS3({ ...fake.s3, timeoutMs: 5_000, attemptTimeoutMs: 5_000 }),
    lease,
    silent,
    allowed,
  );
}

/** Adds entries to the log in the directory. */
async function grow(count: number): Promise<void> {
  const log = await openLog(directory.path, key);
  await Promise.all(Array.from({ length: count }, () => log.submit(submission())));
  await log.close();
}

async function copy(): Promise<void> {
  const source = openDirectoryStorage(place(), { movedTo: to });
  const target = await openTarget('copying');
  try {
    await copyLog({
      source,
      target,
      identity: identityOf(origin, key),
      clock: Date.now,
      precertificates: false,
      markMoved: () => markMoved(place(), to),
      progress() {},
    });
  } finally {
    await target.close();
    await source.close();
  }
}

async function check(): Promise<number> {
  const reader = await readObjectStore(fake.s3);
  try {
    return (await checkLog(reader, publicKey, origin)).size;
  } finally {
    reader.close();
  }
}

/** Whether a writer could go on there, without letting it. */
async function mayBeWritten(): Promise<{ source: boolean; target: boolean }> {
  const source = await openLog(directory.path, key).then(
    async (log) => log.close().then(() => true),
    () => false,
  );
  const storage = await openTarget();
  // A server refuses a store without the log while the directory has it.
  const target = await storage.loadCheckpoint().then(
    (found) => found !== undefined,
    () => false,
  );
  await storage.close();
  return { source, target };
}

test('a copied log is whole, goes on in its new place, and is refused in the old one', async () => {
  await grow(300);
  await copy();
  expect(await check()).toBe(300);
  expect(movedTo(place())).toBe(to);
  await expect(openLog(directory.path, key)).rejects.toMatchObject({
    code: 'STARTUP',
    detail: expect.stringMatching(/was moved to s3:\/\/bucket\/log by "mayfly log copy" and is written there/),
  });
  const log = await openLog(directory.path, key, { storage: await openTarget() });
  await Promise.all(Array.from({ length: 300 }, () => log.submit(submission())));
  await log.close();
  expect(await check()).toBe(600);
  await expect(copy()).rejects.toMatchObject({
    detail: expect.stringMatching(/holds this log already, with 600 entries/),
  });
  expect([...fake.objects.keys()].filter((name) => name.startsWith('log/.writer/'))).toEqual([]);
});

test('a log without entries can be copied', async () => {
  await grow(0);
  await copy();
  expect(await check()).toBe(0);
});

test.each(['fail', 'persist'] as const)(
  'a copy whose writes "%s" one after the other never leaves two logs that may be written, and ends when it is run again',
  async (fault) => {
    await grow(260);
    let runs = 0;
    for (let done = false; !done; runs += 1) {
      let writes = 0;
      let limit = runs;
      // Every run gets one write further than the one before.
      fake.fault = ({ method }) => {
        if (method === 'GET') return undefined;
        writes += 1;
        if (writes <= limit) return undefined;
        limit = -1;
        return writes === runs + 1 ? fault : 'fail';
      };
      done = await copy().then(
        () => true,
        () => false,
      );
      fake.fault = () => undefined;
      const { source, target } = await mayBeWritten();
      expect(source && target).toBe(false);
      if (done) expect({ source, target }).toEqual({ source: false, target: true });
    }
    expect(runs).toBeGreaterThan(8);
    expect(fake.rewritten).toEqual([]);
    expect(await check()).toBe(260);
  },
  60_000,
);

test('a log that grew between two runs is copied as it is now', async () => {
  await grow(200);
  fake.fault = ({ method, key: path }) => (method === 'PUT' && path.includes('/tile/0/') ? 'fail' : undefined);
  await expect(copy()).rejects.toThrow(/tile\/0/);
  fake.fault = () => undefined;
  await grow(200);
  await copy();
  expect(await check()).toBe(400);
});

describe('a copy is refused', () => {
  test('over the tile of another log', async () => {
    await grow(3);
    fake.objects.set('log/tile/0/000.p/3', Buffer.alloc(96));
    await expect(copy()).rejects.toThrow(/is there with another content/);
    expect(movedTo(place())).toBeUndefined();
  });

  test.each(['tile/0/001', 'tile/data/000.p/4', 'checkpoint', 'index.html', '.writer/stages/0/x'])(
    'beside %s, which is no part of it',
    async (path) => {
      await grow(3);
      fake.objects.set(`log/${path}`, Buffer.from('x'));
      await expect(copy()).rejects.toMatchObject({ detail: expect.stringMatching(/is not empty/) });
      expect(movedTo(place())).toBeUndefined();
    },
  );

  test('into the place of another log', async () => {
    await grow(3);
    row.checkpoint = Buffer.from('other.example/log\n1\nx\n');
    await expect(copy()).rejects.toMatchObject({ detail: expect.stringMatching(/holds another log/) });
  });

  test('of a log that is not sound', async () => {
    await grow(300);
    const storage = openDirectoryStorage(place());
    await storage.upload('tile/0/000', Buffer.alloc(8192));
    await storage.close();
    await expect(copy()).rejects.toMatchObject({
      detail: expect.stringMatching(/not sound, and nothing was copied: tile\/0\/000/),
    });
    expect([...fake.objects.keys()]).toEqual([]);
  });

  test('while the log is written', async () => {
    const log = await openLog(directory.path, key);
    await expect(copy()).rejects.toMatchObject({ detail: expect.stringMatching(/in use by another process/) });
    await log.close();
  });
});

test('a server does not begin a second log in a store while the first is in a directory', async () => {
  await grow(1);
  expect(() => requireMoved(place(), to)).toThrow();
  await markMoved(place(), to);
  expect(() => requireMoved(place(), to)).not.toThrow();
  expect(() => requireMoved(place(), `${to}2`)).toThrow();
  expect(() => requireMoved(join(directory.path, 'none'), to)).not.toThrow();
});

test('the tiles of a tree are those that a reader of its checkpoint needs', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 200_000 }), (size) => {
      const { tiles, strange } = tilesToCopy(size, []);
      const paths = [...tiles].map(tilePath);
      const last = Math.floor((size - 1) / 256);
      expect(strange).toEqual([]);
      expect(new Set(paths).size).toBe(paths.length);
      if (size > 0) expect(paths).toContain(tilePath(tileIn(size, 'data', last)));
      expect(tilesToCopy(size, paths).strange).toEqual([]);
    }),
    { numRuns: 30 },
  );
});

test.each([
  ['s3://bucket/log', '', 's3://bucket/log'],
  ['s3://bucket/log', '2', 's3://bucket/log2'],
  ['s3://bucket', '2', 's3://bucket/ctlog2'],
  ['s3://bucket/a/b?region=r&path-style=true', '3', 's3://bucket/a/b3?region=r&path-style=true'],
  ['s3://bucket/a?endpoint=http://h:1', '', 's3://bucket/a?endpoint=http%3A%2F%2Fh%3A1'],
])('beside %s the log with number "%s" lies at %s', (first, number, expected) => {
  const address = formatS3Address(numberedAddress(parseS3Address(first, 'x'), number));
  expect(address).toBe(expected);
  expect(formatS3Address(parseS3Address(address, 'x'))).toBe(expected);
});
