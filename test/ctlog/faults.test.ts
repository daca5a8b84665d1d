import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import { encodeMerkleTreeLeaf, encodeTimestampedEntry } from '../../src/ct/leaf.js';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import type { PrecertSubmission, Sct } from '../../src/ct/log.js';
import { verifySct } from '../../src/ct/sct.js';
import { checkLog } from '../../src/ctlog/check.js';
import type { TreeHead } from '../../src/ctlog/checkpoint.js';
import type { EmbeddedLog } from '../../src/ctlog/log.js';
import { appendLeaves, leafHash, noPeaks, peaksRoot } from '../../src/ctlog/merkle.js';
import type { LogReader, LogStorage } from '../../src/ctlog/storage.js';
import { type Fault, type FaultMode, type Operation, operations, withFault } from './faulty-storage.js';
import { newLogKey, openLog, origin, submission, temporaryDirectory } from './fixtures.js';
import { MemoryStorage } from './memory-storage.js';

const key = newLogKey();
const publicKey = createPublicKey(key);

/** Everything that was ever handed out, to be held against the log. */
interface Promises {
  readonly scts: { readonly of: PrecertSubmission; readonly sct: Sct }[];
  readonly heads: TreeHead[];
}

const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await tick(1);
}

/** Submits at once; what is refused is refused, what is promised is remembered. Resolves with the number of promises. */
async function wave(log: EmbeddedLog, count: number, made: Promises): Promise<number> {
  const submissions = Array.from({ length: count }, () => submission());
  const results = await Promise.allSettled(submissions.map((one) => log.submit(one)));
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
  made.heads.push(log.treeHead());
  return made.scts.length - before;
}

/** The whole log is sound, and every promise is kept in it. */
async function requireKept(storage: LogReader & Pick<MemoryStorage, 'violations'>, made: Promises): Promise<void> {
  const checked = await checkLog(storage, publicKey, origin);
  const broken = made.scts.filter(({ of, sct }) => {
    const { entry } = checked.leaves[decodeLeafIndex(sct.extensions) ?? -1] ?? {};
    if (entry?.entry.type !== 'precert' || entry.timestamp !== sct.timestamp) return true;
    return Buffer.compare(entry.entry.tbs, of.tbs) !== 0;
  });
  expect(broken).toEqual([]);
  const hashes = checked.leaves.map(({ entry }) => leafHash(encodeMerkleTreeLeaf(encodeTimestampedEntry(entry))));
  let last = { size: 0, timestamp: 0 };
  for (const head of [...made.heads, checked]) {
    const peaks = appendLeaves(noPeaks, hashes.slice(0, head.size), () => {});
    expect(Buffer.from(head.root)).toEqual(Buffer.from(peaksRoot(peaks)));
    expect(head.size).toBeGreaterThanOrEqual(last.size);
    expect(head.timestamp).toBeGreaterThanOrEqual(last.timestamp);
    last = head;
  }
  expect(storage.violations).toEqual([]);
}

let directory: ReturnType<typeof temporaryDirectory>;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.dispose());

let openings = 0;
const open = (storage: LogStorage, flushDelayMs = 5) => {
  openings += 1;
  return openLog(directory.path, key, {
    storage,
    flushDelayMs,
    indexDir: join(directory.path, `index${openings % 2}`),
  });
};

/** A log that died before its tiles were durable, so that opening it replays stages. */
async function prepared(made: Promises): Promise<MemoryStorage> {
  const storage = new MemoryStorage();
  // The first two flushes are those of the issuers and of the first checkpoint.
  const dying = withFault(storage, [{ operation: 'flush', call: 3, mode: 'crash before' }]);
  // Nothing is flushed before the end, so that both stages are left.
  const log = await open(dying.storage, 60_000);
  await wave(log, 2, made);
  await wave(log, 248, made);
  await log.close().catch(() => {});
  storage.powerFailure(() => false);
  return storage;
}

const crashes = ['crash before', 'crash after'] as const;
const failures = ['fail', 'persist'] as const;
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
};
const allRows = (modes: readonly FaultMode[]) =>
  operations.flatMap((name) => calls[name].flatMap((call) => modes.map((mode) => row(name, call, mode))));

/** With this fault first, the running writer reads its storage again and finds a committed stage. */
const lostAnswer = row('replaceCheckpoint', 2, 'persist');
const duringOpen: Readonly<Partial<Record<Operation, number>>> = { loadCheckpoint: 1, listStages: 1, fetchStage: 2 };
const faultsOf = (fault: Fault) =>
  fault.call > (duringOpen[fault.operation] ?? Number.POSITIVE_INFINITY) ? [lostAnswer, fault] : [fault];

async function run(fault: Fault, keep: (name: string) => boolean): Promise<void> {
  const made: Promises = { scts: [], heads: [] };
  const storage = await prepared(made);
  const faulty = withFault(storage, faultsOf(fault));
  let log: EmbeddedLog | undefined;
  try {
    log = await open(faulty.storage);
  } catch (error) {
    expect(String(error)).toMatch(/injected|has crashed/);
  }
  for (let i = 0; log !== undefined && i < 5; i += 1) {
    await wave(log, 3, made);
    await tick(4);
  }
  if (log !== undefined && !fault.mode.startsWith('crash')) {
    const running = log;
    // Some faults hit what happens behind a commit.
    await until(() => faulty.hit() && running.readiness().ok);
    expect(await wave(running, 4, made)).toBe(4);
    await requireKept({ ...running.files, violations: storage.violations }, made);
    await running.close();
    await requireKept(storage, made);
  }
  await log?.close().catch(() => {});
  expect(faulty.hit()).toBe(true);
  storage.powerFailure(keep);
  const again = await open(storage);
  expect(await wave(again, 10, made)).toBe(10);
  await again.close();
  await requireKept(storage, made);
}

test.each([...allRows(failures), row('stage', 1, 'torn'), row('stage', 2, 'torn')])(
  '$operation, call $call: $mode',
  (fault) => run(fault, () => false),
);

describe.each([
  ['loses all that was not flushed', () => false],
  ['loses every other file', (name: string) => name.length % 2 === 0],
])('a crash that %s', (_, keep) => {
  test.each(allRows(crashes))('$operation, call $call: $mode', (fault) => run(fault, keep));
});
