import { createPublicKey } from 'node:crypto';
import { copyFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import type { Sct } from '../../src/ct/log.js';
import { verifyEntrySct, verifySct } from '../../src/ct/sct.js';
import { checkLog } from '../../src/ctlog/check.js';
import { openDirectoryStorage } from '../../src/ctlog/directory-storage.js';
import type { EmbeddedLog } from '../../src/ctlog/log.js';
import { leafHash, verifyConsistency, verifyInclusion } from '../../src/ctlog/merkle.js';
import { CheckpointConflict } from '../../src/ctlog/storage.js';
import {
  chain,
  issuerKeyHash,
  newCertificate,
  newPrecertificate,
  party,
  precertSigner,
  precertSignerDer,
  rootDer,
} from './certificates.js';
import { newLogKey, openLog, origin, submission, temporaryDirectory } from './fixtures.js';
import { MemoryStorage } from './memory-storage.js';

const key = newLogKey();
const publicKey = createPublicKey(key);
let directory: ReturnType<typeof temporaryDirectory>;

beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.dispose());

/** What a stopped log left in its directory, or a running one shows. */
const check = (log?: EmbeddedLog) => checkLog(log?.files ?? join(directory.path, 'log'), publicKey, origin);
const many = (count: number) => Array.from({ length: count }, () => submission());
const sizeOf = (checkpoint: Uint8Array) => Number(Buffer.from(checkpoint).toString().split('\n')[1]);
const indexOf = (sct: Sct) => decodeLeafIndex(sct.extensions) ?? -1;
const open = (more = {}) => openLog(directory.path, key, more);

test('an SCT verifies, and its entry is in the published tree at its leaf index', async () => {
  const log = await open();
  const one = submission();
  const sct = await log.submit(one);
  expect(verifySct(sct, one, publicKey)).toBe(true);
  const checked = await check(log);
  expect(checked.size).toBe(1);
  expect(indexOf(sct)).toBe(0);
  expect(checked.leaves[0]).toMatchObject({ entry: { timestamp: sct.timestamp, entry: { tbs: one.tbs } } });
  await log.close();
});

test('concurrent submissions share commits and each keeps its own index', async () => {
  const log = await open();
  const submissions = many(700);
  const scts = await Promise.all(submissions.map((one) => log.submit(one)));
  expect(new Set(scts.map(indexOf)).size).toBe(700);
  expect(new Set(scts.map((sct) => sct.timestamp)).size).toBeLessThan(10);
  const checked = await check(log);
  submissions.forEach((one, i) => {
    const sct = scts[i] as Sct;
    expect(verifySct(sct, one, publicKey)).toBe(true);
    expect(checked.leaves[indexOf(sct)]).toMatchObject({ entry: { entry: { tbs: one.tbs } } });
  });
  await log.close();
});

describe('requests that are under way', () => {
  const commitsOf = (underWay: () => number) => {
    const batches: number[] = [];
    const commits = {
      queued: () => undefined,
      ended: ({ entries }: { entries: number }) => void batches.push(entries),
    };
    const storage = new MemoryStorage();
    return openLog(directory.path, newLogKey(), { storage, commits, underWay, gatherMs: 60_000 }).then((log) => ({
      log,
      batches,
    }));
  };

  test('share a commit with those before them', async () => {
    const { log, batches } = await commitsOf(() => 2);
    await Promise.all([log.submit(submission()), log.submit(submission())]);
    const first = log.submit(submission());
    for (let i = 0; i < 5; i++) await nextTurn();
    await Promise.all([first, log.submit(submission())]);
    expect(batches).toEqual([2, 2]);
    await log.close();
  });

  test('that are all here are committed together', async () => {
    const { log, batches } = await commitsOf(() => 2);
    await Promise.all([log.submit(submission()), log.submit(submission())]);
    for (let i = 0; i < 20; i++) await Promise.all([log.submit(submission()), log.submit(submission())]);
    expect(batches).toEqual(Array.from({ length: 21 }, () => 2));
    await log.close();
  });

  test('do not keep a log from closing', async () => {
    const { log, batches } = await commitsOf(() => 100);
    await log.submit(submission());
    const last = log.submit(submission());
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(log.queue().waiting).toBe(1);
    await log.close();
    await expect(last).resolves.toBeDefined();
    expect(batches).toEqual([1, 1]);
  });
});

test('a tree head that anybody can read is one that proofs are given for, and its tiles are there', async () => {
  const storage = openDirectoryStorage(join(directory.path, 'log'));
  const gate = { open: () => {} };
  const visible: number[] = [];
  // Resolves long after the file is visible.
  const slow = new Proxy(storage, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (name !== 'publish') return typeof value === 'function' ? value.bind(target) : value;
      return async (checkpoint: Uint8Array) => {
        await storage.publish(checkpoint);
        visible.push(sizeOf(checkpoint));
        if (visible.length > 1) await new Promise<void>((resolve) => Object.assign(gate, { open: resolve }));
      };
    },
  });
  const log = await open({ storage: slow });
  await Promise.all(many(300).map((one) => log.submit(one)));
  while (visible.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  const size = visible.at(-1) ?? 0;
  expect(await log.reads.consistencyProof(size - 1, size)).not.toEqual([]);
  // Nothing of these is on disk while the publication before is not done, and everything can be read.
  const placed = await Promise.all(many(300).map((one) => log.submit(one)));
  const shown = sizeOf((await log.files.fetch('checkpoint')) ?? Buffer.of());
  expect(shown).toBe(600);
  for (const sct of placed) expect(await log.reads.inclusionProof(indexOf(sct), shown)).not.toEqual([]);
  expect((await log.reads.entries(300, 599)).length).toBeGreaterThan(0);
  expect((await check(log)).leaves).toHaveLength(600);
  gate.open();
  const closed = log.close();
  while (visible.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  gate.open();
  await closed;
  expect((await check()).size).toBe(600);
});

test('a log grows over many openings, and timestamps of its heads strictly increase', async () => {
  let last = 0;
  for (let round = 0; round < 5; round += 1) {
    const log = await open();
    for (let i = 0; i < 4; i += 1) {
      await Promise.all(many(17).map((one) => log.submit(one)));
      expect(log.treeHead().timestamp).toBeGreaterThan(last);
      last = log.treeHead().timestamp;
    }
    await log.close();
    expect((await check()).size).toBe((round + 1) * 68);
  }
});

test('partial tiles go away once their full tile is durable, and stages once their tiles are', async () => {
  const log = await open();
  await Promise.all(many(200).map((one) => log.submit(one)));
  await Promise.all(many(60).map((one) => log.submit(one)));
  await log.close();
  expect(readdirSync(join(directory.path, 'log/tile/0')).sort()).toEqual(['000', '001.p']);
  expect(readdirSync(join(directory.path, 'log/tile/data')).sort()).toEqual(['000', '001.p']);
  expect(readdirSync(join(directory.path, 'log/.writer')).sort()).toEqual(['committed', 'journal', 'lock', 'stages']);
  expect(readdirSync(join(directory.path, 'log/.writer/stages'))).toEqual([]);
});

test('public files are 0644 in 0755, the writer keeps its own to itself', async () => {
  const log = await open();
  await log.submit(submission());
  await log.close();
  const mode = (path: string) => (statSync(join(directory.path, 'log', path)).mode & 0o777).toString(8);
  expect(['.', 'checkpoint', 'tile', 'tile/0/000.p/1', 'issuer', '.writer', '.writer/committed'].map(mode)).toEqual([
    '755',
    '644',
    '755',
    '644',
    '755',
    '700',
    '600',
  ]);
});

describe('the same precertificate twice', () => {
  const same = (a: Sct, b: Sct) => a.timestamp === b.timestamp && indexOf(a) === indexOf(b);

  test('gives one entry while the first is pending', async () => {
    const log = await open();
    const one = submission();
    const [a, b] = await Promise.all([log.submit(one), log.submit(one)]);
    expect(same(a, b)).toBe(true);
    expect(verifySct(b, one, publicKey)).toBe(true);
    expect(log.treeHead().size).toBe(1);
    await log.close();
  });

  test('gives one entry after the commit, after a restart, and after the loss of the index', async () => {
    const one = submission();
    let log = await open();
    await log.submit(submission());
    const first = await log.submit(one);
    expect(same(await log.submit(one), first)).toBe(true);
    await log.close();
    log = await open();
    expect(same(await log.submit(one), first)).toBe(true);
    await log.close();
    rmSync(join(directory.path, 'index'), { recursive: true });
    log = await open();
    expect(same(await log.submit(one), first)).toBe(true);
    expect(log.treeHead().size).toBe(2);
    await log.close();
  });

  test('gives the entry of add-pre-chain to submit and the other way round', async () => {
    const log = await open();
    const { precertificate, tbs } = newPrecertificate();
    const stranger = await log.addPreChain([precertificate, ...chain]);
    const own = await log.submit({ precertificate, tbs, chain, issuerKeyHash });
    expect(same(stranger, own)).toBe(true);
    expect(verifySct(stranger, { tbs, issuerKeyHash }, publicKey)).toBe(true);
    await log.close();
  });
});

test('an index of another tree is thrown away', async () => {
  const other = temporaryDirectory();
  const log = await openLog(other.path, key, { indexDir: join(directory.path, 'index') });
  await Promise.all(many(5).map((one) => log.submit(one)));
  await log.close();
  const mine = await open();
  const one = submission();
  const sct = await mine.submit(one);
  expect(indexOf(sct)).toBe(0);
  await mine.close();
  const again = await open();
  expect(indexOf(await again.submit(one))).toBe(0);
  await again.close();
  other.dispose();
});

test('a second writer on the same directory is refused, and let in when the first has gone', async () => {
  const first = await open();
  await expect(open({ indexDir: join(directory.path, 'index2') })).rejects.toMatchObject({
    code: 'STARTUP',
    detail: expect.stringContaining(join(directory.path, 'log')),
  });
  await first.submit(submission());
  await first.close();
  const second = await open();
  await second.close();
});

test('every entry has an inclusion proof, and every pair of heads a consistency proof', async () => {
  const log = await open();
  const heads = [log.treeHead()];
  for (const count of [1, 2, 5, 250, 300]) {
    await Promise.all(many(count).map((one) => log.submit(one)));
    heads.push(log.treeHead());
  }
  for (const first of heads) {
    for (const second of heads.filter(({ size }) => size >= first.size)) {
      const proof = second.size === 0 ? [] : await log.reads.consistencyProof(first.size, second.size);
      const claim = { first: first.size, second: second.size, firstRoot: first.root, secondRoot: second.root, proof };
      expect(verifyConsistency(claim)).toBe(true);
    }
  }
  const { size, root } = log.treeHead();
  for (const index of [0, 1, 7, 255, 256, 511, size - 1]) {
    const [entry] = await log.reads.entries(index, index);
    const hash = leafHash(entry?.leafInput ?? new Uint8Array());
    expect(log.reads.indexOf(hash, size)).toBe(index);
    expect(verifyInclusion(index, size, hash, await log.reads.inclusionProof(index, size), root)).toBe(true);
  }
  await log.close();
});

test('a final certificate is logged by add-chain', async () => {
  const log = await open();
  const certificate = newCertificate();
  const sct = await log.addChain([certificate, ...chain]);
  expect(verifyEntrySct(sct, { type: 'x509', certificate }, publicKey)).toBe(true);
  expect((await check(log)).size).toBe(1);
  await log.close();
});

const stranger = party('test issuing CA');
const good = newPrecertificate();

test.each([
  ['an empty chain', [], 'empty'],
  ['something that is no certificate', [Buffer.from('certificate'), ...chain], 'not a DER certificate'],
  ['trailing bytes', [Buffer.concat([good.precertificate, Buffer.of(0)]), ...chain], 'exactly one DER certificate'],
  ['a certificate without poison', [newCertificate(), ...chain], 'no poison'],
  ['a CA of the same name with another key', [newPrecertificate(stranger).precertificate, ...chain], 'not issued by'],
  ['a path that stops below the root twice', [good.precertificate], 'expected 1 without the root'],
  ['a path in the wrong order', [good.precertificate, ...[...chain].reverse()], 'certificate 2'],
])('add-pre-chain refuses %s', async (_, submitted, reason) => {
  const log = await open();
  const refusal = expect.objectContaining({ code: 'CT_SUBMISSION_REFUSED', detail: expect.stringContaining(reason) });
  await expect(log.addPreChain(submitted)).rejects.toEqual(refusal);
  expect(log.treeHead().size).toBe(0);
  await log.close();
});

test('add-pre-chain takes the chain without its root', async () => {
  const log = await open();
  const sct = await log.addPreChain([good.precertificate, ...chain.slice(0, -1)]);
  expect(verifySct(sct, { tbs: good.tbs, issuerKeyHash }, publicKey)).toBe(true);
  await log.close();
});

test('a Precertificate Signing Certificate is refused, whose entries would not fit the final certificates', async () => {
  const roots = [rootDer];
  const log = await open({ acceptedIssuers: () => [], acceptedRoots: () => roots });
  const { precertificate } = newPrecertificate(precertSigner);
  await expect(log.addPreChain([precertificate, precertSignerDer, ...chain])).rejects.toMatchObject({
    code: 'CT_SUBMISSION_REFUSED',
    detail: expect.stringContaining('Precertificate Signing Certificate'),
  });
  await log.addPreChain([newPrecertificate().precertificate, ...chain]);
  expect(log.treeHead().size).toBe(1);
  await log.close();
});

test('add-chain refuses a precertificate', async () => {
  const log = await open();
  await expect(log.addChain([good.precertificate, ...chain])).rejects.toMatchObject({ code: 'CT_SUBMISSION_REFUSED' });
  await log.close();
});

test('close commits the last batch and then takes no more', async () => {
  const log = await open();
  const pending = Promise.all(many(50).map((one) => log.submit(one)));
  await log.close();
  await pending;
  expect((await check()).size).toBe(50);
  await expect(log.submit(submission())).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
});

test('a full queue refuses with OVERLOADED', async () => {
  const log = await open({ maxPending: 10 });
  const results = await Promise.allSettled(many(30).map((one) => log.submit(one)));
  const refused = results.filter((result) => result.status === 'rejected');
  expect(refused).toHaveLength(20);
  expect(refused[0]).toMatchObject({ reason: { code: 'OVERLOADED', retryAfterSeconds: 1 } });
  await log.close();
});

test('a clock behind the last head stops the log until it has caught up', async () => {
  let ahead = 0;
  const log = await open({ clock: () => Date.now() + ahead });
  ahead = 60_000;
  await log.submit(submission());
  ahead = 0;
  await expect(log.submit(submission())).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE', retryAfterSeconds: 2 });
  expect(log.readiness()).toMatchObject({ ok: false, reason: expect.stringContaining('clock') });
  ahead = 60_100;
  await log.submit(submission());
  expect(log.readiness()).toEqual({ ok: true });
  expect((await check(log)).size).toBe(2);
  await log.close();
});

test('an idle log signs its head again, with a later timestamp', async () => {
  const log = await open();
  await log.submit(submission());
  const before = log.treeHead();
  await log.close();
  const later = await open({ clock: () => Date.now() + 3_700_000 });
  await new Promise((resolve) => setImmediate(resolve));
  await later.close();
  const after = await check();
  expect(after).toMatchObject({ size: 1, root: Buffer.from(before.root) });
  expect(after.timestamp).toBeGreaterThan(before.timestamp + 3_600_000);
});

test.each([
  ['another origin', { origin: 'other.example.com/ctlog' }, 'origin'],
  ['another key', { key: newLogKey() }, 'not one of this log'],
])('a directory of a log with %s is refused', async (_, more, reason) => {
  await (await open()).close();
  await expect(open(more)).rejects.toMatchObject({ code: 'STARTUP', detail: expect.stringContaining(reason) });
});

describe('a damaged directory is refused, and the message says what to do', () => {
  const path = (name: string) => join(directory.path, 'log', name);

  test.each([
    ['a missing tile', () => rmSync(path('tile/0/000.p/7')), 'tile/0/000.p/7 is missing'],
    ['a tile cut short', () => truncateSync(path('tile/0/000.p/7'), 64), 'tile/0/000.p/7'],
    ['a tile of zeros', () => writeFileSync(path('tile/0/000.p/7'), Buffer.alloc(7 * 32)), 'root hash'],
    ['entries of another tree', () => copyFileSync(path('tile/data/000.p/3'), path('tile/data/000.p/7')), 'entries'],
    ['no committed checkpoint', () => rmSync(path('.writer/committed')), 'no committed one'],
    ['a committed checkpoint that is torn', () => truncateSync(path('.writer/committed'), 20), 'committed checkpoint'],
    ['an older committed checkpoint', () => copyFileSync(path('old'), path('.writer/committed')), 'an older copy'],
  ])('%s', async (_, damage, reason) => {
    const log = await open();
    await Promise.all(many(3).map((one) => log.submit(one)));
    copyFileSync(path('.writer/committed'), path('old'));
    await Promise.all(many(4).map((one) => log.submit(one)));
    await log.close();
    damage();
    await expect(open()).rejects.toMatchObject({ code: 'STARTUP', detail: expect.stringContaining(reason) });
    await expect(open()).rejects.toMatchObject({ code: 'STARTUP' });
  });
});

test('a stage that was torn before its commit is removed', async () => {
  const log = await open();
  await log.submit(submission());
  await log.close();
  writeFileSync(join(directory.path, 'log/.writer/stages/0000000000009-0123456789abcdef'), Buffer.of(1, 0, 0));
  const again = await open();
  expect(readdirSync(join(directory.path, 'log/.writer/stages'))).toEqual([]);
  await again.close();
});

test('a writer that was replaced asks for its place at the same pace, however often it is refused', async () => {
  const storage = openDirectoryStorage(join(directory.path, 'log'));
  let refusals = 0;
  const replaced = new Proxy(storage, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (name === 'replaceCheckpoint' && refusals === 1)
        return () => Promise.reject(new CheckpointConflict('replaced'));
      if (name === 'loadCheckpoint' && refusals > 0 && refusals < 40) {
        refusals += 1;
        return () => Promise.reject(new CheckpointConflict('another process has the lease'));
      }
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const log = await open({ storage: replaced });
  refusals = 1;
  await expect(log.submit(submission())).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE' });
  // With pauses that double, forty of them would outlast everybody.
  while (!log.readiness().ok) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(refusals).toBe(40);
  await log.submit(submission());
  await log.close();
});
