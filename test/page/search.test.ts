import { join } from 'node:path';
import type { EmbeddedLog } from '../../src/ctlog/log.js';
import { SearchIndex, type SearchIndexOptions } from '../../src/page/search-index.js';
import { queryTerm, type SearchKind } from '../../src/page/search-terms.js';
import { newLogKey, openLog, temporaryDirectory } from '../ctlog/fixtures.js';
import { hostile } from './hostile.js';
import { add, jane, type Leaf, workflow } from './lab.js';

let directory: ReturnType<typeof temporaryDirectory>;
let log: EmbeddedLog;
let index: SearchIndex | undefined;
beforeEach(async () => {
  directory = temporaryDirectory();
  log = await openLog(directory.path, newLogKey());
});
afterEach(async () => {
  await index?.close();
  index = undefined;
  await log.close();
  directory.dispose();
});

async function fill(...leaves: readonly Leaf[]): Promise<void> {
  for (const leaf of leaves) await add(log, leaf);
}

async function open(more: Partial<SearchIndexOptions> = {}): Promise<SearchIndex> {
  await index?.close();
  index = await SearchIndex.open({
    directory: join(directory.path, 'search'),
    logId: Buffer.from(log.logId).toString('hex'),
    reads: log.reads,
    clock: Date.now,
    failed: (error) => {
      throw error;
    },
    ...more,
  });
  return index;
}

async function found(kind: SearchKind, query: string, before = 1_000_000, limit = 100): Promise<number[]> {
  const here = index ?? (await open());
  await here.catchUp(10_000);
  const term = queryTerm(kind, query);
  return term === undefined ? [] : here.find([term], before, limit);
}

test.each<[SearchKind, string, number[]]>([
  ['identity', 'jane@example.com', [2, 0]],
  ['identity', ' JANE@Example.com ', [2, 0]],
  ['identity', 'example.com', [2, 0]],
  ['identity', '@example.com', [2, 0]],
  ['identity', 'jane', []],
  ['identity', 'https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main', [1]],
  ['identity', 'https://github.com', [1]],
  ['identity', 'https://github.com/', [1]],
  ['identity', 'https://github.com/acme', [1]],
  ['identity', 'github.com/acme', [1]],
  ['identity', 'https://github.com/acme/app', [1]],
  ['identity', 'https://github.com/ac', []],
  ['identity', 'https://login.example.com', []],
  ['issuer', 'https://login.example.com', [2, 0]],
  ['issuer', 'https://token.actions.githubusercontent.com/', [1]],
  ['issuer', 'jane@example.com', []],
  ['identity', '', []],
  ['serial', 'jane', []],
  ['serial', '', []],
])('%s "%s" is found in %j', async (kind, query, expected) => {
  await fill(jane, workflow, jane);
  expect(await found(kind, query)).toEqual(expected);
});

test('a search takes what is below an index, as much as is asked for, newest first', async () => {
  await fill(jane, jane, workflow, jane, jane);
  expect(await found('identity', 'jane@example.com', 4, 2)).toEqual([3, 1]);
  expect(await found('identity', 'jane@example.com', 1, 2)).toEqual([0]);
  expect(await found('identity', 'jane@example.com', 0, 2)).toEqual([]);
});

test('new entries are found by the next search, and the index is taken up again where it was left', async () => {
  await fill(jane);
  expect(await found('identity', 'jane@example.com')).toEqual([0]);
  await fill(jane);
  expect(await found('identity', 'jane@example.com')).toEqual([1, 0]);
  const reads = { treeHead: log.reads.treeHead, entries: () => Promise.reject(new Error('it was read again')) };
  const again = await open({ reads });
  expect(again.searched).toEqual({ from: 0, to: 2 });
  expect(await found('identity', 'jane@example.com')).toEqual([1, 0]);
});

test.each([
  ['another log', () => ({ logId: 'ff'.repeat(32) })],
  ['a longer log', () => ({ reads: { ...log.reads, treeHead: () => ({ ...log.treeHead(), size: 1 }) } })],
])('the index of %s is thrown away', async (_, other) => {
  await fill(jane, jane);
  expect(await found('identity', 'jane@example.com')).toEqual([1, 0]);
  const again = await open(other());
  expect(again.searched.from).toBe(again.searched.to);
  expect(again.find([queryTerm('identity', 'jane@example.com') as Uint8Array], 100, 10)).toEqual([]);
});

test('more than one tile is searched, newest entries first, and stops when it is closed', async () => {
  await Promise.all(Array.from({ length: 300 }, () => add(log, workflow)));
  await fill(jane);
  const seen: number[] = [];
  const entries = (start: number, end: number) => {
    seen.push(start);
    return log.reads.entries(start, end);
  };
  await open({ reads: { ...log.reads, entries } });
  expect(await found('identity', 'jane@example.com')).toEqual([300]);
  expect(await found('identity', 'https://github.com/acme', 1000, 400)).toHaveLength(300);
  expect(seen).toEqual([256, 0]);
});

test('nothing is read before the first search, nor long after the last one', async () => {
  await fill(jane, jane);
  let now = 1_000_000_000;
  let read = 0;
  const entries = (start: number, end: number) => {
    read += 1;
    now += 3_600_000;
    return log.reads.entries(start, end);
  };
  const here = await open({ reads: { ...log.reads, entries }, clock: () => now });
  expect(read).toBe(0);
  await here.catchUp(10_000);
  expect(read).toBe(1);
});

test.each(Object.entries(hostile))('an entry with %s is indexed', async (_, leaf) => {
  await fill(leaf, jane);
  expect(await found('identity', 'jane@example.com')).toEqual([1]);
  for (const [, value] of leaf.names ?? []) expect(await found('identity', value)).toContain(0);
});
