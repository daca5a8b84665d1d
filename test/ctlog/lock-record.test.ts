import { createPublicKey, type KeyObject } from 'node:crypto';
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDirectoryStorage } from '../../src/ctlog/directory-storage.js';
import { type CheckpointRecord, withLockRecord } from '../../src/ctlog/lock-record.js';
import { openLockRecord } from '../../src/ctlog/lock-record-stores.js';
import type { EmbeddedLog } from '../../src/ctlog/log.js';
import { CheckpointConflict } from '../../src/ctlog/storage.js';
import { newLogKey, openLog, origin, submission, temporaryDirectory } from './fixtures.js';

const key = newLogKey();
let directory: ReturnType<typeof temporaryDirectory>;
let warnings: string[];

beforeEach(() => {
  directory = temporaryDirectory();
  warnings = [];
});
afterEach(() => directory.dispose());

const at = (name: string) => join(directory.path, name);
const place = () => ({ place: at('elsewhere/last'), origin, storageName: at('log') });

interface Opening {
  readonly wrap?: (record: CheckpointRecord) => CheckpointRecord;
  readonly logKey?: KeyObject;
  readonly resignIntervalMs?: number;
}

async function open({ wrap = (record) => record, logKey = key, ...more }: Opening = {}): Promise<EmbeddedLog> {
  const record = wrap(await openLockRecord(place()));
  const logger = { warn: (text: string) => warnings.push(text) } as never;
  const options = { origin, logKey: createPublicKey(logKey), logger };
  const storage = withLockRecord(openDirectoryStorage(at('log')), record, options);
  return openLog(directory.path, logKey, { storage, ...more });
}

async function grow(count: number, times = 1): Promise<void> {
  const log = await open();
  for (let i = 0; i < times; i += 1) {
    await Promise.all(Array.from({ length: count }, () => log.submit(submission())));
  }
  await log.close();
}

async function growWithoutRecord(count: number): Promise<void> {
  const log = await openLog(directory.path, key);
  await Promise.all(Array.from({ length: count }, () => log.submit(submission())));
  await log.close();
}

const backUp = () => cpSync(at('log'), at('backup'), { recursive: true });
function restore(): void {
  rmSync(at('log'), { recursive: true });
  cpSync(at('backup'), at('log'), { recursive: true });
}

test('the record is the published checkpoint, and a log that goes on is opened again without a word', async () => {
  await grow(3, 4);
  expect(readFileSync(at('elsewhere/last'))).toEqual(readFileSync(at('log/checkpoint')));
  await grow(300);
  expect(readFileSync(at('elsewhere/last'))).toEqual(readFileSync(at('log/checkpoint')));
  expect(warnings).toEqual([]);
});

test('a log restored from an old backup is refused, with what was found and how to recover', async () => {
  await grow(3);
  backUp();
  await grow(2);
  restore();
  const before = readFileSync(at('log/.writer/committed'));
  await expect(open()).rejects.toMatchObject({
    code: 'STARTUP',
    message: expect.stringMatching(
      /does not continue the last checkpoint recorded in .*elsewhere\/last \(size 5, .*its checkpoint has size 3.*old backup.*Restore a copy that holds all 5 entries/s,
    ),
  });
  expect(readFileSync(at('log/.writer/committed'))).toEqual(before);
});

test('a log that is gone is refused', async () => {
  await grow(3);
  rmSync(at('log'), { recursive: true });
  await expect(open()).rejects.toMatchObject({ message: expect.stringContaining('it holds no log') });
});

test('an old backup that only lacks a newer signature of the same tree is refused', async () => {
  await grow(3);
  backUp();
  const log = await open({ resignIntervalMs: 0 });
  const first = log.treeHead().timestamp;
  while (log.treeHead().timestamp === first) await new Promise((done) => setTimeout(done, 1));
  await log.close();
  restore();
  await expect(open()).rejects.toMatchObject({ message: expect.stringMatching(/size 3, .*its checkpoint is of 2/) });
});

test('a fork of the same size is refused', async () => {
  await grow(3);
  backUp();
  await grow(2);
  restore();
  await growWithoutRecord(2);
  await expect(open()).rejects.toMatchObject({ message: expect.stringContaining('size 5 has another root hash') });
});

test('a fork that has outgrown the record is refused, and the record stays', async () => {
  await grow(3);
  backUp();
  await grow(2);
  const recorded = readFileSync(at('elsewhere/last'));
  restore();
  await growWithoutRecord(400);
  await expect(open()).rejects.toMatchObject({ message: expect.stringContaining('it has grown apart from that') });
  expect(readFileSync(at('elsewhere/last'))).toEqual(recorded);
});

test('a log that went on without its record for a while is accepted when it continues the recorded tree', async () => {
  await grow(3);
  await growWithoutRecord(400);
  await grow(1);
  expect(readFileSync(at('elsewhere/last'))).toEqual(readFileSync(at('log/checkpoint')));
});

test('a log that was never recorded is taken with a warning', async () => {
  await growWithoutRecord(2);
  await grow(1);
  expect(warnings).toEqual([expect.stringContaining('nothing was recorded there before')]);
});

test('the record of another log is refused', async () => {
  await grow(1);
  rmSync(at('log'), { recursive: true });
  rmSync(at('index'), { recursive: true });
  await expect(open({ logKey: newLogKey() })).rejects.toMatchObject({
    message: expect.stringMatching(/recorded in .* is not one of this log/),
  });
});

test.each(['fails', 'fails but persisted'])('no SCT leaves when the record %s, and the log recovers', async (how) => {
  let broken = false;
  const log = await open({
    wrap: (record) => ({
      ...record,
      async replace(expected, next) {
        if (!broken || how === 'fails but persisted') await record.replace(expected, next);
        if (broken) throw new Error('injected');
      },
    }),
  });
  await log.submit(submission());
  broken = true;
  const one = submission();
  const shown = await log.files.fetch('checkpoint');
  await expect(log.submit(one)).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE' });
  expect(await log.files.fetch('checkpoint')).toEqual(shown);
  broken = false;
  while (!log.readiness().ok) await new Promise((done) => setTimeout(done, 1));
  await log.submit(one);
  expect(log.treeHead().size).toBe(2);
  await log.close();
  expect(readFileSync(at('elsewhere/last'))).toEqual(readFileSync(at('log/checkpoint')));
});

test('a copy of the log that runs beside it is found out at its first commit', async () => {
  const record = await openLockRecord(place());
  await record.replace(undefined, Buffer.from('one'));
  await record.replace(Buffer.from('one'), Buffer.from('two'));
  await record.replace(Buffer.from('one'), Buffer.from('two'));
  await expect(record.replace(Buffer.from('one'), Buffer.from('three'))).rejects.toThrow(CheckpointConflict);
  await expect(record.replace(undefined, Buffer.from('three'))).rejects.toThrow(CheckpointConflict);
  expect(await record.load()).toEqual(Buffer.from('two'));
});

test('a record inside the directory of the log is refused', async () => {
  const inside = { place: at('log/last'), origin, storageName: at('log') };
  await expect(openLockRecord(inside)).rejects.toMatchObject({ message: expect.stringContaining('is inside the dir') });
});

test('a directory keeps a record for each origin', async () => {
  const shared = { ...place(), place: `${at('records')}/` };
  const one = await openLockRecord(shared);
  const other = await openLockRecord({ ...shared, origin: 'other.example.com' });
  await one.replace(undefined, Buffer.from('one'));
  expect(await other.load()).toBeUndefined();
});

test('a place that cannot be used is refused with its path', async () => {
  writeFileSync(at('file'), '');
  const under = { ...place(), place: at('file/last') };
  await expect(openLockRecord(under)).rejects.toMatchObject({
    code: 'STARTUP',
    message: expect.stringMatching(/^--ctlog-lock: the last checkpoint cannot be kept in .*file\/last: /),
  });
});

// Where no directory can be made, Node's own recursive mkdir would try for ever.
(existsSync('/proc/self') ? test : test.skip)('so is one below a directory that takes no other', async () => {
  await expect(openLockRecord({ ...place(), place: '/proc/none/last' })).rejects.toMatchObject({
    message: expect.stringMatching(/cannot be kept in \/proc\/none\/last: ENOENT/),
  });
});
