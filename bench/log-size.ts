import { join } from 'node:path';
import type { EmbeddedLog } from '../src/ctlog/log.js';
import { leafHash } from '../src/ctlog/merkle.js';
import { duration, percentile, table, timed } from './lib/figures.js';
import { type EntryBytes, generateLog } from './lib/generated-log.js';
import { diskBytes, issuers, type LogFiles, newLogFiles, openLog, origin } from './lib/log-files.js';
import { submission } from './log-submit.js';

export interface SizeOptions {
  /** Directory on the disk to be measured. */
  readonly parent: string;
  readonly entries: readonly number[];
  readonly bytes: EntryBytes;
}

const samples = 1000;

/** What a log costs when it is large: for each size, start-up, one submission at a time, proofs, and space on disk. */
export async function benchSize({ parent, entries, bytes }: SizeOptions): Promise<string> {
  const columns: [string, ...string[]][] = [];
  for (const size of entries) {
    const files = newLogFiles(parent);
    try {
      columns.push(await measure(files, size, bytes));
    } finally {
      files.remove();
    }
  }
  const rows = titles.map((title, row) => [title, ...columns.map((column) => column[row] ?? '')]);
  return table(rows);
}

const titles = [
  'entries',
  'written by the generator in',
  'first start, without an index',
  'until the index is built behind it',
  'start',
  'submit, one at a time: p50, p99',
  'get-proof-by-hash: p50, p99',
  'get-entry-and-proof: p50, p99',
  'get-sth-consistency: p50, p99',
  'data tiles on disk, bytes an entry',
  'hash tiles on disk, bytes an entry',
  'index on disk, bytes an entry',
];

async function measure(files: LogFiles, size: number, bytes: EntryBytes): Promise<[string, ...string[]]> {
  const say = (text: string) => process.stderr.write(`${size} entries: ${text}\n`);
  const generated = await timed(() => generateLog({ ...files, origin, issuers, size, bytes, clock: Date.now }));
  say(`generated in ${duration(generated.ms)}`);
  const perEntry = (path: string) => (diskBytes(path) / size).toFixed(0);
  const hashTiles = diskBytes(join(files.directory, 'tile')) - diskBytes(join(files.directory, 'tile/data'));
  const dataTiles = perEntry(join(files.directory, 'tile/data'));
  const first = await timed(() => openLog(files));
  const built = await timed(() => untilIndexed(first.value, size));
  say(`first start in ${duration(first.ms)}, its index complete after ${duration(built.ms)} more`);
  await first.value.close();
  const index = perEntry(files.indexDir);
  const again = await timed(() => openLog(files));
  const log = again.value;
  try {
    const submit = await sample(() => log.submit(submission()));
    const proofs = await proofTimes(log, size);
    const start = [generated.ms, first.ms, built.ms, again.ms].map(duration);
    return [size.toLocaleString('en'), ...start, submit, ...proofs, dataTiles, (hashTiles / size).toFixed(0), index];
  } finally {
    await log.close();
  }
}

/** Resolves when a proof by hash need not wait for the index any more. */
async function untilIndexed({ reads }: EmbeddedLog, size: number): Promise<void> {
  const nobody = new Uint8Array(32);
  for (;;) {
    try {
      reads.indexOf(nobody, size);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** The three reads that need the tree, at random places, as the HTTP routes call them. */
async function proofTimes(log: EmbeddedLog, size: number): Promise<string[]> {
  const { reads } = log;
  const anyIndex = () => Math.floor(Math.random() * size);
  const hashes = await Promise.all(Array.from({ length: samples }, () => leafHashAt(log, anyIndex())));
  const byHash = await sample(async (i) => {
    const index = reads.indexOf(hashes[i] ?? Buffer.of(), size);
    if (index === undefined) throw new Error('an entry is not in the index');
    return reads.inclusionProof(index, size);
  });
  const entryAndProof = await sample(async () => {
    const index = anyIndex();
    return [await reads.inclusionProof(index, size), await reads.entries(index, index)];
  });
  const consistency = await sample(() => reads.consistencyProof(1 + anyIndex(), size));
  return [byHash, entryAndProof, consistency];
}

async function leafHashAt({ reads }: EmbeddedLog, index: number): Promise<Uint8Array> {
  const [entry] = await reads.entries(index, index);
  if (entry === undefined) throw new Error(`no entry ${index}`);
  return leafHash(entry.leafInput);
}

async function sample(action: (i: number) => Promise<unknown>): Promise<string> {
  const times: number[] = [];
  for (let i = 0; i < samples; i += 1) times.push((await timed(() => action(i))).ms);
  return `${duration(percentile(times, 0.5))}, ${duration(percentile(times, 0.99))}`;
}
