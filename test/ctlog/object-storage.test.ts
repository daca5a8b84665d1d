import { createPublicKey } from 'node:crypto';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import type { PrecertSubmission, Sct } from '../../src/ct/log.js';
import { checkLog } from '../../src/ctlog/check.js';
import { readObjectStore } from '../../src/ctlog/object-storage.js';
import { bindToDatabase } from '../../src/ctlog/object-storage-binding.js';
import { ObjectLogStorage } from '../../src/ctlog/object-storage-operations.js';
import { parseS3Address, s3Name } from '../../src/ctlog/s3-address.js';
import { openS3 } from '../../src/ctlog/s3-objects.js';
import { CheckpointConflict } from '../../src/ctlog/storage.js';
import { newLogKey, openLog, origin, silent, submission, temporaryDirectory } from './fixtures.js';
import { type FakeRow, type FakeS3, fakeLease, type S3Fault, startFakeS3 } from './object-storage-fakes.js';

const key = newLogKey();
const publicKey = createPublicKey(key);
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

/** A storage that has just taken the lease from whoever had it. */
async function openStorage(): Promise<ObjectLogStorage> {
  const lease = fakeLease(row);
  lease.steal();
  return new ObjectLogStorage(await openS3(fake.s3), lease, silent);
}

const text = (content: string): Buffer => Buffer.from(content);
const object = (path: string): string | undefined => fake.objects.get(`log/${path}`)?.toString();

async function requireKept(kept: readonly (readonly [PrecertSubmission, Sct])[]): Promise<void> {
  const reader = await readObjectStore({ ...fake.s3, timeoutMs: 5_000, attemptTimeoutMs: 5_000 });
  const log = await checkLog(reader, publicKey, origin);
  reader.close();
  for (const [of, sct] of kept) {
    const { entry } = log.leaves[decodeLeafIndex(sct.extensions) ?? -1] ?? {};
    expect(entry).toMatchObject({ timestamp: sct.timestamp, entry: { tbs: of.tbs } });
  }
}

/** Which requests of the commit path a fault hits. */
const places: readonly (readonly [string, (method: string, key: string) => boolean])[] = [
  ['the stage', (method, path) => method === 'PUT' && path.includes('/stages/')],
  ['a data tile', (method, path) => method === 'PUT' && path.includes('/tile/data/')],
  ['a hash tile', (method, path) => method === 'PUT' && path.includes('/tile/0/')],
  ['the published checkpoint', (method, path) => method === 'PUT' && path.endsWith('/checkpoint')],
  ['the removal of stages', (method) => method === 'DELETE'],
];
const faults: readonly S3Fault[] = ['fail', 'persist', 'hang', 'persist and hang'];
const table = places.flatMap(([place, hits]) => faults.map((fault) => ({ place, fault, hits })));

test.each(table)(
  'a request for $place that meets "$fault" loses nothing that was promised',
  async ({ fault, hits }) => {
    const log = await openLog(directory.path, key, { storage: await openStorage(), reopenDelayMs: 20 });
    const kept: [PrecertSubmission, Sct][] = [];
    let strikes = 0;
    const wave = async (count: number) => {
      const all = Array.from({ length: count }, () => submission());
      const results = await Promise.allSettled(all.map((one) => log.submit(one)));
      results.forEach((result, i) => {
        if (result.status === 'fulfilled') kept.push([all[i] as PrecertSubmission, result.value]);
      });
    };
    await wave(10);
    fake.fault = ({ method, key: path }) => {
      if (strikes > 0 || !hits(method, path)) return undefined;
      strikes += 1;
      return fault;
    };
    for (let i = 0; strikes === 0 || i < 3; i += 1) await wave(100);
    while (!log.readiness().ok) await new Promise((done) => setTimeout(done, 5));
    await wave(5);
    // Rejects when the fault hit what is done behind commits, which is then the next recovery's.
    await log.close().catch(() => {});
    await (await openLog(directory.path, key, { storage: await openStorage() })).close();
    expect(kept.length).toBeGreaterThanOrEqual(15);
    await requireKept(kept);
    expect(fake.rewritten.filter((path) => path !== 'log/checkpoint')).toEqual([]);
  },
);

test('a writer that lost its lease commits nothing, and uploads no tile of what it did not commit', async () => {
  const old = await openLog(directory.path, key, { storage: await openStorage() });
  await old.submit(submission());
  while (object('checkpoint')?.split('\n')[1] !== '1') await new Promise((done) => setTimeout(done, 1));
  const before = [...fake.objects.keys()].filter((path) => path.startsWith('log/tile/'));
  const successor = await openStorage();
  await expect(old.submit(submission())).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE' });
  expect([...fake.objects.keys()].filter((path) => path.startsWith('log/tile/'))).toEqual(before);
  expect(old.treeHead().size).toBe(1);
  await old.close();
  await successor.close();
});

test('a writer that was paused between its commit and its publication cannot put its checkpoint over a newer one', async () => {
  const old = await openStorage();
  await old.loadCheckpoint();
  await old.replaceCheckpoint(undefined, text('1'));
  await old.publish(text('1'));
  await old.replaceCheckpoint(text('1'), text('2'));
  // Here it is paused, and its successor publishes what it committed, and more.
  const successor = await openStorage();
  expect(await successor.loadCheckpoint()).toEqual(text('2'));
  await successor.publish(text('2'));
  await successor.replaceCheckpoint(text('2'), text('3'));
  await successor.publish(text('3'));
  await expect(old.publish(text('2'))).rejects.toThrow(CheckpointConflict);
  expect(object('checkpoint')).toBe('3');
});

test('a new writer publishes although the last publication of the old one comes in between', async () => {
  const old = await openStorage();
  await old.loadCheckpoint();
  await old.replaceCheckpoint(undefined, text('1'));
  await old.publish(text('1'));
  await old.replaceCheckpoint(text('1'), text('2'));
  const successor = await openStorage();
  await successor.loadCheckpoint();
  let puts = 0;
  fake.fault = async ({ method, key: path }) => {
    if (method !== 'PUT' || path !== 'log/checkpoint') return undefined;
    puts += 1;
    // The successor has read the version and is about to replace it.
    if (puts === 1) fake.objects.set('log/checkpoint', text('2'));
    return undefined;
  };
  await successor.replaceCheckpoint(text('2'), text('3'));
  await successor.publish(text('3'));
  expect(object('checkpoint')).toBe('3');
  expect(puts).toBe(2);
});

test('a publication that was given up and arrives late changes nothing', async () => {
  const storage = await openStorage();
  await storage.loadCheckpoint();
  await storage.replaceCheckpoint(undefined, text('1'));
  await storage.publish(text('1'));
  let arrive = () => {};
  let held = false;
  fake.fault = ({ method }) => {
    if (held || method !== 'PUT') return undefined;
    held = true;
    return new Promise((resolve) => {
      arrive = () => resolve(undefined);
    });
  };
  await storage.replaceCheckpoint(text('1'), text('2'));
  await expect(storage.publish(text('2'))).rejects.toThrow(/cannot write s3:\/\/bucket\/log\/checkpoint/);
  await storage.loadCheckpoint();
  await storage.publish(text('2'));
  await storage.replaceCheckpoint(text('2'), text('3'));
  await storage.publish(text('3'));
  arrive();
  await new Promise((done) => setTimeout(done, 50));
  expect(object('checkpoint')).toBe('3');
});

test('a writer sees and removes the stages of its predecessors, never those of its successors', async () => {
  const first = await openStorage();
  await first.loadCheckpoint();
  await first.stage('a', text('of the first'));
  const second = await openStorage();
  await second.loadCheckpoint();
  await second.stage('b', text('of the second'));
  expect(await first.listStages()).toEqual(['a']);
  await first.discardStages(['b'], true);
  expect((await second.listStages()).sort()).toEqual(['a', 'b']);
  expect(await second.fetchStage('a')).toEqual(new Uint8Array(text('of the first')));
  await second.discardStages(['a', 'b'], true);
  expect(await second.listStages()).toEqual([]);
});

test('a tile is written again with the same content and never with another', async () => {
  const storage = await openStorage();
  await storage.upload('tile/0/000', text('one'));
  await storage.upload('tile/0/000', text('one'));
  await expect(storage.upload('tile/0/000', text('two'))).rejects.toThrow(/tile\/0\/000 is there with another content/);
  expect(object('tile/0/000')).toBe('one');
});

test('a writer that was replaced takes the lease again when its successor has let go of it', async () => {
  const old = await openStorage();
  const successor = await openStorage();
  await expect(old.loadCheckpoint()).rejects.toThrow(CheckpointConflict);
  expect(old.isLeader()).toBe(false);
  await successor.close();
  expect(await old.loadCheckpoint()).toBeUndefined();
  expect(old.isLeader()).toBe(true);
});

test('a store that ignores conditions on writes is refused', async () => {
  fake.ignoreConditions = true;
  const objects = await openS3(fake.s3);
  await expect(bindToDatabase(objects, fakeLease(row))).rejects.toMatchObject({
    code: 'STARTUP',
    message: expect.stringMatching(/^the object store of s3:\/\/bucket\/log ignores If-None-Match on writes/),
  });
});

test('a store that belongs to another database is refused, and one that belongs to this is not', async () => {
  const objects = await openS3(fake.s3);
  await bindToDatabase(objects, fakeLease(row));
  await bindToDatabase(objects, fakeLease(row));
  await expect(bindToDatabase(objects, { name: 'fake database', id: 'another row' })).rejects.toMatchObject({
    code: 'STARTUP',
    message: expect.stringMatching(/expects the database fake row, and this one is another row/),
  });
});

test.each([
  ['s3://my-log', { bucket: 'my-log', prefix: '', pathStyle: false }],
  ['s3://my-log/', { bucket: 'my-log', prefix: '', pathStyle: false }],
  ['s3://my.log/a/b/?region=eu-west-1', { bucket: 'my.log', prefix: 'a/b/', region: 'eu-west-1', pathStyle: false }],
  [
    's3://my-log/a?endpoint=https://minio.example.com:9000&path-style=true',
    { bucket: 'my-log', prefix: 'a/', endpoint: 'https://minio.example.com:9000', pathStyle: true },
  ],
])('the address %s is read', (address, expected) => {
  const found = parseS3Address(address, '--ctlog-storage');
  expect(found).toEqual(expected);
  expect(s3Name(found)).toBe(`s3://${found.bucket}${found.prefix === '' ? '' : `/${found.prefix.slice(0, -1)}`}`);
});

test.each([
  ['', 'is not an s3: URL'],
  ['https://my-log', 'is not an s3: URL'],
  ['s3:///prefix', '"" is not the name of a bucket'],
  ['s3://My_Log', 'is not the name of a bucket'],
  ['s3://id:secret@my-log', 'credentials'],
  ['s3://my-log/a//b', '"a//b" is not a usable prefix'],
  ['s3://my-log/a%2f..', 'is not a usable prefix'],
  ['s3://my-log?profile=x', 'the parameter "profile" is not known'],
  ['s3://my-log?region=a&region=b', 'the parameter "region" is given twice'],
  ['s3://my-log?path-style=yes', 'path-style is "yes"'],
  ['s3://my-log?endpoint=minio:9000', 'the endpoint "minio:9000" is not an http or https URL'],
])('the address "%s" is refused', (address, found) => {
  expect(() => parseS3Address(address, '--ctlog-storage')).toThrow(
    expect.objectContaining({ code: 'STARTUP', message: expect.stringMatching(/^--ctlog-storage: .*; expected s3:/) }),
  );
  expect(() => parseS3Address(address, '--ctlog-storage')).toThrow(found);
  expect(() => parseS3Address(address, '--ctlog-storage')).not.toThrow('secret');
});
