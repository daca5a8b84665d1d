import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import { dedupeKey } from '../../src/ctlog/candidate.js';
import { IndexCache, type IndexEntry } from '../../src/ctlog/index-cache.js';
import { logReads } from '../../src/ctlog/reads.js';
import { hashOf } from '../../src/ctlog/tile-leaf.js';
import { openTileReader, type TileReader } from '../../src/ctlog/tile-reader.js';
import { newLogKey, silent, temporaryDirectory } from './fixtures.js';
import { readerOf, syntheticLog } from './synthetic-log.js';

const key = newLogKey();
const size = 2000;
const tiles = openTileReader(readerOf(syntheticLog({ size, key, publicKey: createPublicKey(key) })));
let directory: ReturnType<typeof temporaryDirectory>;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.dispose());

const said: string[] = [];
const open = (more: { tiles?: TileReader; size?: number; maxCatchUp?: number } = {}) =>
  IndexCache.open(
    {
      directory: join(directory.path, 'index'),
      logId: Buffer.alloc(32, 1),
      logger: { ...silent, info: (_: unknown, text?: string) => void said.push(String(text)) },
      keyOf: ({ timestampedEntry }) => dedupeKey(timestampedEntry.entry),
      failed: () => {},
      maxCatchUp: more.maxCatchUp ?? 100,
    },
    more.size ?? size,
    more.tiles ?? tiles,
  );

async function entryAt(index: number): Promise<IndexEntry> {
  const leaf = (await tiles.leaves(size, Math.floor(index / 256)))[index % 256];
  if (leaf === undefined) throw new Error(`no entry ${index}`);
  const { entry, timestamp } = leaf.timestampedEntry;
  return { index, timestamp: Number(timestamp), key: dedupeKey(entry), leafHash: hashOf(leaf) };
}

/** The tiles, of which none is given until `open` is called. */
function gated(): { tiles: TileReader; open: () => void; asked: () => number } {
  let asked = 0;
  let give = () => {};
  const opened = new Promise<void>((resolve) => {
    give = resolve;
  });
  const leaves = async (treeSize: number, index: number) => {
    asked += 1;
    await opened;
    return tiles.leaves(treeSize, index);
  };
  return { tiles: { ...tiles, leaves }, open: () => give(), asked: () => asked };
}

test('an index that lacks many entries is open at once, and finds them when it is complete', async () => {
  const gate = gated();
  const index = await open({ tiles: gate.tiles });
  expect(index.building).toBe(true);
  const old = await entryAt(1234);
  expect(index.find(old.key)).toBeUndefined();
  const added = { ...(await entryAt(0)), index: size, key: Buffer.alloc(32, 7), leafHash: Buffer.alloc(32, 8) };
  await index.add([added]);
  expect(index.find(added.key)).toMatchObject({ index: size });
  gate.open();
  await index.complete();
  expect(index.building).toBe(false);
  for (const i of [0, 255, 256, 1234, size - 1]) {
    const entry = await entryAt(i);
    expect(index.find(entry.key)).toEqual({ index: i, timestamp: entry.timestamp });
    expect(index.indexOf(entry.leafHash)).toBe(i);
  }
  expect(index.indexOf(added.leafHash)).toBe(size);
  await index.close();
  expect(said.join('\n')).toMatch(/is being built: 2000 entries are to be read.*\n.*the index of the log is complete/s);
});

test('a build that was cut short goes on where it was, and nothing says that it is complete before', async () => {
  // The first half is there, and the rest is asked for and never given.
  const half = await open({ size: 1024 });
  await half.complete();
  await half.close();
  const gate = gated();
  const cut = await open({ tiles: gate.tiles });
  await cut.add([{ ...(await entryAt(0)), index: size, key: Buffer.alloc(32, 7), leafHash: Buffer.alloc(32, 8) }]);
  const closed = cut.close();
  gate.open();
  await closed;
  const counted = gated();
  counted.open();
  const again = await open({ tiles: counted.tiles });
  await again.complete();
  // The tile that was under way when it was cut short is not asked for again.
  expect(counted.asked()).toBe(3);
  const last = await entryAt(size - 1);
  expect(again.indexOf(last.leafHash)).toBe(size - 1);
  await again.close();
});

test('an index that lacks few entries is complete when it is open', async () => {
  const index = await open({ maxCatchUp: size });
  expect(index.building).toBe(false);
  expect(index.indexOf((await entryAt(77)).leafHash)).toBe(77);
  await index.close();
});

test('a proof by hash waits while the index is being built, unless the hash is in it', async () => {
  const gate = gated();
  const index = await open({ tiles: gate.tiles });
  const head = { size, root: Buffer.alloc(32), timestamp: 0, signature: Buffer.of() };
  const issuers = { fetch: async () => Buffer.of() };
  const reads = logReads({ published: () => head, tiles, index, issuers, maxEntries: 1 });
  const { leafHash } = await entryAt(3);
  expect(() => reads.indexOf(leafHash, size)).toThrow(
    expect.objectContaining({ code: 'CT_LOG_UNAVAILABLE', retryAfterSeconds: 30 }),
  );
  gate.open();
  await index.complete();
  expect(reads.indexOf(leafHash, size)).toBe(3);
  expect(reads.indexOf(Buffer.alloc(32), size)).toBeUndefined();
  await index.close();
});
