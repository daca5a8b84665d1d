import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { openDirectoryStorage } from '../../src/ctlog/directory-storage.js';
import { readSlotFile, SlotFile } from '../../src/ctlog/slot-file.js';
import { StageJournal } from '../../src/ctlog/stage-journal.js';
import { temporaryDirectory } from './fixtures.js';

const page = 4096;
let directory: ReturnType<typeof temporaryDirectory>;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.dispose());

const at = (name: string) => join(directory.path, name);
const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();

/** Changes bytes of a file in place, as a write that was torn does. */
function spoil(path: string, offset: number, length = 8): void {
  const bytes = readFileSync(path);
  bytes.fill(0xa5, offset, offset + length);
  writeFileSync(path, bytes);
}

describe('a value in two slots', () => {
  const path = () => at('committed');
  const make = (value: string) => SlotFile.create(path(), at('new'), Buffer.from(value));
  const slotAt = (slot: number) => page + slot * 17 * page;
  const read = async () => text(await readSlotFile(path()));

  test('is the last one written, and the file keeps its length', async () => {
    const file = await make('value 1');
    const { size } = statSync(path());
    for (let i = 2; i < 20; i += 1) {
      await file.write(Buffer.from(`value ${i}`));
      expect(await read()).toBe(`value ${i}`);
    }
    await file.close();
    expect(statSync(path())).toMatchObject({ size });
    expect(statSync(path()).mode & 0o777).toBe(0o600);
  });

  test.each([
    ['first', 0, 'two', 'one'],
    ['last', 17 * page - 100, 'two', 'two'],
    ['CRC of the', 3, 'two', 'one'],
    ['sequence number of the', 6, 'two', 'one'],
    ['length of the', 10, 'two', 'one'],
  ])('a newer slot whose %s bytes are torn gives way to the older one', async (_, offset, newer, expected) => {
    const file = await make('one');
    await file.write(Buffer.from(newer));
    await file.close();
    spoil(path(), slotAt(1) + offset);
    expect(await read()).toBe(expected);
  });

  test('an older slot that is torn does not matter', async () => {
    const file = await make('one');
    await file.write(Buffer.from('two'));
    await file.close();
    spoil(path(), slotAt(0));
    expect(await read()).toBe('two');
  });

  test('with both slots torn it is refused, and the message says what to do', async () => {
    const file = await make('one');
    await file.write(Buffer.from('two'));
    await file.close();
    for (const slot of [0, 1]) spoil(path(), slotAt(slot));
    await expect(read()).rejects.toMatchObject({
      code: 'STARTUP',
      detail: expect.stringMatching(/committed is damaged: neither of its two slots is whole.*Nothing was signed/),
    });
  });

  test('a file of an older version is the value itself; no file is none', async () => {
    expect(await read()).toBeUndefined();
    writeFileSync(path(), 'as it was');
    expect(await read()).toBe('as it was');
  });

  test('a value that does not fit is refused before anything is written', async () => {
    const file = await make('one');
    await expect(file.write(randomBytes(17 * page))).rejects.toThrow('does not fit');
    await file.close();
    expect(await read()).toBe('one');
  });

  test('whatever bytes follow the first page, it is a whole value that was written or a refusal', async () => {
    const file = await make('one');
    await file.write(Buffer.from('two'));
    await file.close();
    const whole = readFileSync(path());
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - page - 1), fc.uint8Array({ maxLength: 64 }), async (from, bytes) => {
        const torn = Buffer.from(whole);
        torn.set(bytes.subarray(0, whole.length - page - from), page + from);
        writeFileSync(path(), torn);
        expect(['one', 'two', 'refused']).toContain(await read().catch(() => 'refused'));
      }),
      { numRuns: 100 },
    );
  });
});

describe('the journal of stages', () => {
  const path = () => at('journal');
  const make = (pages = 10) => StageJournal.create(path(), at('new'), pages * page);
  const reopen = async (journal?: StageJournal) => {
    await journal?.close();
    const again = await StageJournal.open(path());
    if (again === undefined) throw new Error('no journal');
    return again;
  };

  test('gives back what was appended, also to the next opening', async () => {
    const journal = await make();
    const stages = [randomBytes(10), randomBytes(page), randomBytes(2 * page)];
    for (const [i, bytes] of stages.entries()) expect(await journal.append(`stage ${i}`, bytes)).toBe(true);
    const again = await reopen(journal);
    expect(again.names()).toEqual(['stage 0', 'stage 1', 'stage 2']);
    for (const [i, bytes] of stages.entries()) expect(await again.fetch(`stage ${i}`)).toEqual(bytes);
    expect(await again.fetch('stage 3')).toBeUndefined();
    await again.close();
  });

  test('goes round in a circle, and never over a stage that is wanted', async () => {
    let journal = await make();
    const wanted = new Map<string, Buffer>();
    for (let i = 0; i < 200; i += 1) {
      const bytes = randomBytes(1 + ((i * 977) % (2 * page)));
      const name = `stage ${i}`;
      while (!(await journal.append(name, bytes))) {
        const [oldest = ''] = wanted.keys();
        await journal.discard([oldest], false);
        wanted.delete(oldest);
      }
      wanted.set(name, bytes);
      if (i % 7 === 0) journal = await reopen(journal);
      expect(journal.names()).toEqual([...wanted.keys()]);
      for (const [one, expected] of wanted) expect(await journal.fetch(one)).toEqual(expected);
    }
    await journal.close();
  });

  test('takes nothing that it has no room for', async () => {
    const journal = await make(4);
    expect(await journal.append('too long', randomBytes(2 * page))).toBe(false);
    expect(await journal.append('fits', randomBytes(page))).toBe(true);
    expect(await journal.append('no room', randomBytes(1))).toBe(false);
    expect((await reopen(journal)).names()).toEqual(['fits']);
  });

  test.each([
    ['its id', 2, 0],
    ['its length', 2, 17],
    ['its CRC', 2, 21],
    ['its sequence number', 2, 24],
    ['its first page', 2, 100],
    ['its last page', 3, 100],
  ])('a record that is torn in %s is none, and those before it stay', async (_, pageNumber, offset) => {
    const journal = await make();
    await journal.append('before', randomBytes(10));
    await journal.append('torn', randomBytes(page + 200));
    await journal.close();
    spoil(path(), (pageNumber + 1) * page + offset, 4);
    const again = await reopen();
    expect(again.names()).toEqual(['before']);
    expect(await again.append('after', randomBytes(3 * page))).toBe(true);
    expect((await reopen(again)).names()).toEqual(['before', 'after']);
  });

  test('a stage discarded durably is gone, whatever is torn of the page that says so', async () => {
    const journal = await make();
    for (const name of ['one', 'two', 'three']) await journal.append(name, randomBytes(10));
    await journal.discard(['two'], true);
    expect((await reopen(journal)).names()).toEqual(['one', 'three']);
    spoil(path(), page);
    const torn = await reopen();
    expect(torn.names()).toEqual(['one', 'three']);
    await torn.discard(['one', 'three'], true);
    expect((await reopen(torn)).names()).toEqual([]);
  });

  test('a stage discarded for the time being may come back when the page that says so is torn, and then it is whole', async () => {
    const journal = await make();
    const bytes = randomBytes(page);
    await journal.append('one', bytes);
    await journal.discard(['one'], false);
    expect((await reopen(journal)).names()).toEqual([]);
    spoil(path(), page);
    const again = await reopen();
    expect(await again.fetch('one')).toEqual(bytes);
    await again.close();
  });

  test('a record inside of a record is not taken for one', async () => {
    const other = await make();
    await other.append('forged', Buffer.from('forged'));
    await other.close();
    const record = readFileSync(path()).subarray(2 * page, 3 * page);
    const journal = await make();
    // Lies on a page of its own, and the record around it is torn.
    await journal.append('carrier', Buffer.concat([Buffer.alloc(page - 41), record, record]));
    await journal.close();
    spoil(path(), 2 * page, 4);
    expect((await reopen()).names()).toEqual([]);
  });

  test('a file that is something else is refused; no file is none', async () => {
    expect(await StageJournal.open(path())).toBeUndefined();
    writeFileSync(path(), randomBytes(3 * page));
    await expect(StageJournal.open(path())).rejects.toThrow('is not a journal of stages');
  });
});

describe('the writer of a directory', () => {
  const writer = (name = '') => at(`log/.writer/${name}`);
  const open = (journalBytes = 16 * page) => openDirectoryStorage(at('log'), { journalBytes });

  test('stages in files until there is a journal, and whatever the journal has no room for', async () => {
    const storage = open();
    await storage.stage('first', Buffer.from('first'));
    await storage.close();
    expect(readdirSync(writer('stages'))).toEqual(['first']);
    const again = open();
    await again.stage('small', Buffer.from('small'));
    await again.stage('large', randomBytes(16 * page));
    expect(readdirSync(writer('stages')).sort()).toEqual(['first', 'large']);
    expect((await again.listStages()).sort()).toEqual(['first', 'large', 'small']);
    expect(text(await again.fetchStage('small'))).toBe('small');
    expect(text(await again.fetchStage('first'))).toBe('first');
    await again.discardStages(['first', 'large', 'small'], true);
    expect(await again.listStages()).toEqual([]);
    await again.close();
  });

  test('goes on with stages as files when there is no room for a journal', async () => {
    const storage = open(2 ** 46);
    for (const name of ['one', 'two']) await storage.stage(name, Buffer.from(name));
    expect((await storage.listStages()).sort()).toEqual(['one', 'two']);
    await storage.close();
    expect(readdirSync(writer()).sort()).toEqual(['lock', 'stages']);
  });

  test('refuses a journal that is none, before anything is written', async () => {
    mkdirSync(writer('stages'), { recursive: true });
    writeFileSync(writer('journal'), 'something');
    const storage = open();
    await expect(storage.listStages()).rejects.toThrow('is not a journal');
    await storage.close();
  });

  test('reads a committed checkpoint of an older version and puts it into slots when it is committed again', async () => {
    mkdirSync(writer('stages'), { recursive: true });
    writeFileSync(writer('committed'), 'checkpoint 1');
    const storage = open();
    const found = await storage.loadCheckpoint();
    expect(text(found)).toBe('checkpoint 1');
    await storage.replaceCheckpoint(found, Buffer.from('checkpoint 2'));
    await storage.replaceCheckpoint(Buffer.from('checkpoint 2'), Buffer.from('checkpoint 3'));
    expect(text(await storage.loadCheckpoint())).toBe('checkpoint 3');
    await storage.close();
    expect(statSync(writer('committed')).size).toBeGreaterThan(2 * page);
  });

  test('makes the file of slots anew after a failure, so that what was found is durable before it is built upon', async () => {
    const storage = open();
    await storage.loadCheckpoint();
    await storage.replaceCheckpoint(undefined, Buffer.from('one'));
    await storage.replaceCheckpoint(Buffer.from('one'), Buffer.from('two'));
    const { ino } = statSync(writer('committed'));
    await expect(storage.replaceCheckpoint(Buffer.from('two'), randomBytes(2 ** 20))).rejects.toThrow('does not fit');
    await expect(storage.replaceCheckpoint(Buffer.from('two'), Buffer.from('three'))).rejects.toThrow('last saw');
    const found = await storage.loadCheckpoint();
    expect(text(found)).toBe('two');
    await storage.replaceCheckpoint(found, Buffer.from('two'));
    expect(statSync(writer('committed')).ino).not.toBe(ino);
    await storage.close();
  });

  test('a copy of the files in any state between two commits is one of the two', async () => {
    const storage = open();
    await storage.loadCheckpoint();
    await storage.replaceCheckpoint(undefined, Buffer.from('one'));
    await storage.replaceCheckpoint(Buffer.from('one'), Buffer.from('two'));
    copyFileSync(writer('committed'), at('copy'));
    await storage.close();
    truncateSync(at('copy'), 18 * page + 5);
    expect(text(await readSlotFile(at('copy')))).toBe('one');
    rmSync(at('copy'));
  });
});
