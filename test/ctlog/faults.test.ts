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
import type { LogStorage } from '../../src/ctlog/storage.js';
import { type Fault, operations, withFault } from './faulty-storage.js';
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
  let kept = 0;
  results.forEach((result, i) => {
    const of = submissions[i];
    if (result.status === 'rejected') {
      expect(result.reason).toMatchObject({ code: 'CT_LOG_UNAVAILABLE' });
      expect(result.reason.retryAfterSeconds).toBeGreaterThan(0);
    } else if (of !== undefined) {
      made.scts.push({ of, sct: result.value });
      kept += 1;
    }
  });
  made.heads.push(log.treeHead());
  return kept;
}

/** The whole log is sound, and every promise is kept in it. */
async function requireKept(storage: MemoryStorage, made: Promises): Promise<void> {
  const checked = await checkLog(storage, publicKey, origin);
  for (const { of, sct } of made.scts) {
    expect(verifySct(sct, of, publicKey)).toBe(true);
    const leaf = checked.leaves[decodeLeafIndex(sct.extensions) ?? -1];
    expect(leaf?.entry.timestamp).toBe(sct.timestamp);
    expect(leaf?.entry.entry).toMatchObject({ tbs: of.tbs });
  }
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
const open = (storage: LogStorage) => {
  openings += 1;
  return openLog(directory.path, key, { storage, indexDir: join(directory.path, `index${openings % 2}`) });
};

/** A log with some entries, and tiles both full and partial. */
async function prepared(made: Promises): Promise<MemoryStorage> {
  const storage = new MemoryStorage();
  const log = await open(storage);
  await wave(log, 250, made);
  await log.close();
  return storage;
}

const rows = operations.flatMap((operation) =>
  [1, 2, 3].flatMap((call) =>
    (['fail', 'persist', 'torn', 'crash before', 'crash after'] as const)
      .filter((mode) => mode !== 'torn' || operation === 'stage')
      .map((mode): Fault => ({ operation, call, mode })),
  ),
);

describe.each([
  ['nothing that was not flushed', () => false],
  ['everything', () => true],
  ['every other file', (name: string) => name.length % 2 === 0],
])('a power failure that leaves %s', (_, keep) => {
  test.each(rows)('$operation, call $call: $mode', async (fault) => {
    const made: Promises = { scts: [], heads: [] };
    const storage = await prepared(made);
    const faulty = withFault(storage, fault);
    let log: EmbeddedLog | undefined;
    try {
      log = await open(faulty.storage);
    } catch (error) {
      expect(String(error)).toContain('injected');
    }
    for (let i = 0; log !== undefined && i < 4; i += 1) {
      await wave(log, 3, made);
      await tick(3);
    }
    if (log !== undefined && !fault.mode.startsWith('crash')) {
      const running = log;
      await until(() => running.readiness().ok);
      expect(await wave(running, 4, made)).toBe(4);
      await requireKept(storage, made);
    }
    await log?.close().catch(() => {});
    storage.powerFailure(keep);
    const again = await open(storage);
    await requireKept(storage, made);
    expect(await wave(again, 10, made)).toBe(10);
    await again.close();
    await requireKept(storage, made);
  });
});
