import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import { encodeMerkleTreeLeaf, encodeTimestampedEntry } from '../../src/ct/leaf.js';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import type { PrecertSubmission, Sct } from '../../src/ct/log.js';
import { verifySct } from '../../src/ct/sct.js';
import { checkLog } from '../../src/ctlog/check.js';
import { openCheckpoint, type TreeHead } from '../../src/ctlog/checkpoint.js';
import type { EmbeddedLog, EmbeddedLogOptions } from '../../src/ctlog/log.js';
import type { LogReader, LogStorage } from '../../src/ctlog/storage.js';
import { fullTilePath, tileIn, tilePath, tileWidth } from '../../src/ctlog/tiles.js';
import { GrowingTree, leafHashOf, rootOfPath, rootsOfProof } from '../fault/tree.js';
import {
  type Fault,
  type FaultMode,
  type Operation,
  operations,
  type Tear,
  withFault,
  writes,
} from './faulty-storage.js';
import { newLogKey, openLog, origin, submission, temporaryDirectory } from './fixtures.js';

const key = newLogKey();
const publicKey = createPublicKey(key);

/** A storage that outlives its writers. */
export interface Subject {
  /** For a writer of its own, as the next process has it. */
  open(): Promise<{ readonly storage: LogStorage; readonly tear?: Tear }>;
  /** As a web server in front, or a CDN, has it. */
  readonly reader: LogReader;
  /** Files that are there and were given a second content. */
  violations(): readonly string[];
  /** Takes away what is not durable, unless `keep` says otherwise, as far as this can be had here. */
  powerFailure(keep: Keep): void;
  /** Another one with the same content. */
  copy(): Promise<Subject>;
  dispose(): Promise<void>;
}

/** What a power failure leaves of a file that is not durable; `torn` is a part of it. */
export type Keep = (name: string) => boolean | 'torn';

interface InclusionProof {
  readonly index: number;
  readonly size: number;
  readonly path: readonly Uint8Array[];
}

interface ConsistencyProof {
  readonly first: number;
  readonly second: number;
  readonly path: readonly Uint8Array[];
}

/** Everything that was ever handed out, to be held against the log. */
interface Promises {
  readonly scts: { readonly of: PrecertSubmission; readonly sct: Sct }[];
  /** As the log gave them, in order. */
  readonly heads: TreeHead[];
  /** As the public file had them. */
  readonly published: TreeHead[];
  readonly inclusion: InclusionProof[];
  readonly consistency: ConsistencyProof[];
}

const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await tick(1);
}

/** Submits at once; what is refused is refused, what is promised is remembered. Resolves with the number of promises. */
async function wave(log: EmbeddedLog, count: number, made: Promises, patience?: AbortSignal): Promise<number> {
  const submissions = Array.from({ length: count }, () => submission());
  const results = await Promise.allSettled(submissions.map((one) => log.submit(one, patience)));
  const before = made.scts.length;
  results.forEach((result, i) => {
    const of = submissions[i] ?? submission();
    if (result.status === 'rejected') {
      expect(result.reason).toMatchObject({ code: 'CT_LOG_UNAVAILABLE', retryAfterSeconds: 2 });
      return;
    }
    expect(verifySct(result.value, of, publicKey)).toBe(true);
    made.scts.push({ of, sct: result.value });
  });
  return made.scts.length - before;
}

const indexOf = (sct: Sct): number => decodeLeafIndex(sct.extensions) ?? -1;

/** A reader of the files alone: a checkpoint that is there has its tiles. */
async function readFiles({ reader }: Subject, made: Promises): Promise<void> {
  const file = await reader.fetch('checkpoint');
  if (file === undefined || file.length === 0) return;
  const head = openCheckpoint(file, { origin, logKey: publicKey });
  made.published.push(head);
  if (head.size === 0) return;
  for (const kind of ['data', 0] as const) {
    const index = Math.floor((head.size - 1) / tileWidth);
    const path = tilePath(tileIn(head.size, kind, index));
    const found = (await reader.fetch(path)) ?? (await reader.fetch(fullTilePath(kind, index)));
    expect([path, found !== undefined && found.length > 0]).toEqual([path, true]);
  }
}

/** Reads as strangers do: a tree head or checkpoint, and proofs for it at once. Only an injected fault may refuse them. */
async function read(log: EmbeddedLog, subject: Subject, made: Promises): Promise<void> {
  await readFiles(subject, made);
  const before = made.heads.at(-1);
  try {
    const bytes = await log.files.fetch('checkpoint');
    const head = openCheckpoint(bytes ?? Buffer.of(), { origin, logKey: publicKey });
    made.heads.push(head);
    const { size } = head;
    for (const { sct } of made.scts.slice(-1)) {
      const index = indexOf(sct);
      made.inclusion.push({ index, size, path: await log.reads.inclusionProof(index, size) });
    }
    if (before === undefined || before.size === 0) return;
    const path = await log.reads.consistencyProof(before.size, size);
    made.consistency.push({ first: before.size, second: size, path });
  } catch (error) {
    expect(String(error)).toMatch(/injected|has crashed/);
  }
}

/** The whole log is sound, and every promise is kept in it. */
async function requireKept(log: LogReader, { violations }: Subject, made: Promises): Promise<void> {
  const checked = await checkLog(log, publicKey, origin);
  const broken = made.scts.filter(({ of, sct }) => {
    const { entry } = checked.leaves[indexOf(sct)] ?? {};
    if (entry?.entry.type !== 'precert' || entry.timestamp !== sct.timestamp) return true;
    return Buffer.compare(entry.entry.tbs, of.tbs) !== 0;
  });
  expect(broken).toEqual([]);
  const leaves = checked.leaves.map(({ entry }) => leafHashOf(encodeMerkleTreeLeaf(encodeTimestampedEntry(entry))));
  const tree = new GrowingTree();
  const roots = [Buffer.from(tree.root())];
  for (const leaf of leaves) {
    tree.add(leaf);
    roots.push(Buffer.from(tree.root()));
  }
  for (const head of [...made.heads, ...made.published, checked])
    expect(Buffer.from(head.root)).toEqual(roots[head.size]);
  // A tile that was shown keeps its content for as long as it is there.
  for (const size of new Set(made.published.map((head) => head.size))) {
    if (size === 0) continue;
    const tile = tileIn(size, 0, Math.floor((size - 1) / tileWidth));
    const found = await log.fetch(tilePath(tile));
    const from = tile.index * tileWidth;
    if (found !== undefined) expect(Buffer.from(found)).toEqual(Buffer.concat(leaves.slice(from, from + tile.width)));
  }
  let last = { size: 0, timestamp: 0 };
  for (const head of [...made.heads, checked]) {
    expect(head.size).toBeGreaterThanOrEqual(last.size);
    expect(head.timestamp).toBeGreaterThanOrEqual(last.timestamp);
    last = head;
  }
  for (const { index, size, path } of made.inclusion) {
    expect(Buffer.from(rootOfPath(index, size, leaves[index] ?? Buffer.of(), path))).toEqual(roots[size]);
  }
  for (const { first, second, path } of made.consistency) {
    const { second: root } = rootsOfProof(first, second, roots[first] ?? Buffer.of(), path);
    expect(Buffer.from(root)).toEqual(roots[second]);
  }
  expect(violations()).toEqual([]);
}

const row = (operation: Operation, call: number, mode: FaultMode): Fault => ({ operation, call, mode });

/**
 * Which calls of each operation fail. Opening alone makes some of them, because it has two stages to replay: the first
 * two uploads are issuers, the next four tiles out of the stages, and only then come those of new batches.
 */
const calls: Readonly<Record<Operation, readonly number[]>> = {
  loadCheckpoint: [1, 2],
  replaceCheckpoint: [1, 2, 3],
  stage: [1, 2],
  listStages: [1, 2],
  fetchStage: [1, 2, 3],
  discardStages: [1, 2, 3],
  upload: [1, 3, 7, 8],
  flush: [1, 2, 3, 4],
  discardPartials: [1, 2],
  publish: [1, 2, 3],
  fetch: [1, 2, 3],
};

/** Every operation with each of these modes; only writes can be torn. */
export function rowsOf(modes: readonly FaultMode[]): Fault[] {
  const possible = (name: Operation, mode: FaultMode) =>
    mode !== 'torn' || (writes as readonly Operation[]).includes(name);
  return operations.flatMap((name) =>
    calls[name].flatMap((call) => modes.filter((mode) => possible(name, mode)).map((mode) => row(name, call, mode))),
  );
}

/** With this fault first, the running writer reads its storage again and finds a committed stage. */
const lostAnswer = row('replaceCheckpoint', 2, 'persist');
const duringOpen: Readonly<Partial<Record<Operation, number>>> = { loadCheckpoint: 1, listStages: 1, fetchStage: 2 };
const faultsOf = (fault: Fault) =>
  fault.call > (duringOpen[fault.operation] ?? Number.POSITIVE_INFINITY) ? [lostAnswer, fault] : [fault];

/**
 * Runs the rows of the table on storages like the one that `make` makes, each with a log that the power went off under;
 * `left` is what is there of its files.
 */
export function faultTable(make: () => Promise<Subject>, left: Keep = () => false) {
  const directory = temporaryDirectory();
  let openings = 0;
  let base: Subject;
  const promised: Promises = { scts: [], heads: [], published: [], inclusion: [], consistency: [] };

  const open = (storage: LogStorage, more: Partial<EmbeddedLogOptions> = {}) => {
    openings += 1;
    return openLog(directory.path, key, {
      storage,
      ...more,
      indexDir: join(directory.path, `index${openings}`),
    });
  };

  /** A log that died before its tiles were durable, so that opening it replays stages. */
  beforeAll(async () => {
    base = await make();
    const { storage } = await base.open();
    // The first two flushes are those of the issuers and of the first checkpoint.
    const dying = withFault(storage, [row('flush', 3, 'crash before')]);
    // Nothing is flushed before the end, so that both stages are left.
    const log = await open(dying.storage, { flushDelayMs: 60_000 });
    await wave(log, 2, promised);
    // Until its files are there, so that a partial tile is seen that a later one takes the place of.
    while (promised.published.at(-1)?.size !== 2) await readFiles(base, promised);
    await read(log, base, promised);
    await wave(log, 248, promised);
    await read(log, base, promised);
    await log.close().catch(() => {});
    base.powerFailure(left);
  });
  afterAll(async () => {
    await base.dispose();
    directory.dispose();
  });

  /**
   * One row: faults happen to a writer under load, and then everything that was promised is held against the log. Of
   * several faults the last one decides how it ends.
   */
  return async (row: Fault | readonly Fault[], keep: Keep = () => false): Promise<void> => {
    const faults = 'mode' in row ? faultsOf(row) : row;
    const subject = await base.copy();
    const made: Promises = {
      scts: [...promised.scts],
      heads: [...promised.heads],
      published: [...promised.published],
      inclusion: [...promised.inclusion],
      consistency: [...promised.consistency],
    };
    const { storage, tear } = await subject.open();
    const faulty = withFault(storage, faults, tear);
    const isLast = /crash|killed/.test(faults.at(-1)?.mode ?? '');
    let log: EmbeddedLog | undefined;
    try {
      log = await open(faulty.storage);
    } catch (error) {
      expect(String(error)).toMatch(/injected|has crashed/);
    }
    for (let i = 0; log !== undefined && i < 5; i += 1) {
      await wave(log, 3, made, faulty.patience());
      await read(log, subject, made);
      await tick(4);
    }
    if (log !== undefined && !isLast) {
      const running = log;
      // Some faults hit what happens behind a commit.
      await until(() => faulty.hit() && running.readiness().ok);
      expect(await wave(running, 4, made)).toBe(4);
      await read(running, subject, made);
      await requireKept(running.files, subject, made);
      await running.close();
      await requireKept(subject.reader, subject, made);
    }
    await log?.close().catch(() => {});
    expect(faulty.hit()).toBe(true);
    subject.powerFailure(keep);
    // With no issuers of its own, so that those of the entries must have been kept.
    const again = await open((await subject.open()).storage, { acceptedIssuers: () => [] });
    await requireKept(again.files, subject, made);
    expect(await wave(again, 10, made)).toBe(10);
    await read(again, subject, made);
    await again.close();
    await requireKept(subject.reader, subject, made);
    expect(made.inclusion.length).toBeGreaterThan(promised.inclusion.length);
    expect(made.consistency.length).toBeGreaterThan(promised.consistency.length);
    await subject.dispose();
  };
}
