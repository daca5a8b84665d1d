import { createPrivateKey } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setMark } from '../../src/ctlog/object-storage-marks.js';
import { ObjectLogStorage } from '../../src/ctlog/object-storage-operations.js';
import { type RotateOptions, rotateLog } from '../../src/ctlog/rotate.js';
import { openS3 } from '../../src/ctlog/s3-objects.js';
import { readShards } from '../../src/ctlog/shards.js';
import { newLogKey, openLog, silent, submission, temporaryDirectory } from './fixtures.js';
import { type FakeRow, type FakeS3, fakeLease, startFakeS3 } from './object-storage-fakes.js';

const publicUrl = 'https://ca.example.com';
let directory: ReturnType<typeof temporaryDirectory>;
let fake: FakeS3;
let rows: Map<string, FakeRow>;

beforeEach(async () => {
  directory = temporaryDirectory();
  fake = await startFakeS3();
  rows = new Map();
  mkdirSync(join(directory.path, 'keys/ctlog'), { recursive: true, mode: 0o700 });
  writeFileSync(keyFile(), newLogKey().export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const log = await openLog(directory.path, key(), { storage: await open('') });
  await log.submit(submission());
  await log.close();
});
afterEach(async () => {
  await fake.close();
  directory.dispose();
});

const keyFile = () => join(directory.path, 'keys/ctlog/key.pem');
const key = () => createPrivateKey(readFileSync(keyFile()));
const objects = (number: string) => openS3({ ...fake.s3, prefix: `log${number}/`, timeoutMs: 5_000 });

async function open(number: string, allowed?: 'frozen'): Promise<ObjectLogStorage> {
  const row = rows.get(number) ?? { epoch: 0n, owner: undefined, checkpoint: undefined };
  rows.set(number, row);
  const lease = fakeLease(row);
  lease.steal();
  return new ObjectLogStorage(await objects(number), lease, silent, allowed);
}

/** Rotates; `frozen` happens right after the mark was set. */
function rotate(frozen: () => void = () => {}) {
  const store: RotateOptions['store'] = {
    address: ({ number }) => `s3://bucket/log${number}`,
    isEmpty: async ({ number }) => (await (await objects(number)).list('')).length === 0,
    async freeze({ number }) {
      await setMark(await objects(number), 'frozen');
      frozen();
    },
  };
  return rotateLog({
    dataDir: directory.path,
    publicUrl,
    logKey: key(),
    clock: Date.now,
    logger: silent,
    openStorage: ({ number }) => open(number, 'frozen'),
    store,
  });
}

test('a rotation that ends right after the mark leaves a log that nobody writes, and is run again', async () => {
  const crash = () => {
    throw new Error('crash');
  };
  await expect(rotate(crash)).rejects.toThrow('crash');
  expect((await readShards(directory.path)).frozen).toEqual([]);
  await expect(openLog(directory.path, key(), { storage: await open('') })).rejects.toMatchObject({
    detail: expect.stringMatching(/frozen by "mayfly log rotate".*If the rotation was cut short, run it again/),
  });
  const { frozen, opened } = await rotate();
  expect([frozen.size, frozen.storage, opened.place.origin]).toEqual([1, 's3://bucket/log', 'ca.example.com/ctlog2']);
  expect((await readShards(directory.path)).frozen).toMatchObject([{ name: 'ctlog', storage: 's3://bucket/log' }]);
  expect(fake.objects.has('log2/checkpoint')).toBe(true);
});

test('a standby that commits before the mark is noticed, and the log is not written down as frozen', async () => {
  const standby = () => {
    const row = rows.get('');
    if (row !== undefined) row.checkpoint = Buffer.from('a later checkpoint');
  };
  await expect(rotate(standby)).rejects.toThrow(/another process wrote to the log/);
  expect((await readShards(directory.path)).frozen).toEqual([]);
});
