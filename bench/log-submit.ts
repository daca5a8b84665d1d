import { createHash, randomBytes } from 'node:crypto';
import type { PrecertSubmission } from '../src/ct/log.js';
import { openDirectoryStorage } from '../src/ctlog/directory-storage.js';
import type { EmbeddedLog } from '../src/ctlog/log.js';
import type { LogStorage } from '../src/ctlog/storage.js';
import { chain, issuerKeyHash } from '../test/ctlog/certificates.js';
import { duration, percentile, table } from './lib/figures.js';
import { newLogFiles, openLog } from './lib/log-files.js';

export interface SubmitOptions {
  /** Directory on the disk to be measured. */
  readonly parent: string;
  readonly submitters: readonly number[];
  readonly seconds: number;
}

/** Entries of the size that a certificate for an email address has. */
const size = { tbs: 500, precertificate: 650 };
const warmUpMs = 1000;

/**
 * How fast the log takes entries: for each number of concurrent submitters, who wait for their SCT before they submit
 * again, a new log in this process, without HTTP and without a CA.
 */
export async function benchSubmit({ parent, submitters, seconds }: SubmitOptions): Promise<string> {
  const rows = [['submitters', 'SCTs/s', 'commits/s', 'entries a commit', 'p50', 'p99']];
  for (const count of submitters) {
    const files = newLogFiles(parent);
    const storage = countCommits(openDirectoryStorage(files.directory));
    const log = await openLog(files, storage.storage);
    try {
      await submitFor(log, count, warmUpMs);
      const before = storage.commits();
      const latencies = await submitFor(log, count, seconds * 1000);
      const commits = storage.commits() - before;
      const rate = (n: number) => (n / seconds).toFixed(0);
      const [p50, p99] = [0.5, 0.99].map((share) => duration(percentile(latencies, share)));
      const perCommit = (latencies.length / commits).toFixed(1);
      rows.push([`${count}`, rate(latencies.length), rate(commits), perCommit, p50 ?? '', p99 ?? '']);
    } finally {
      await log.close();
      files.remove();
    }
  }
  return table(rows);
}

/** Latencies in milliseconds. */
async function submitFor(log: EmbeddedLog, submitters: number, ms: number): Promise<number[]> {
  const end = performance.now() + ms;
  const latencies: number[] = [];
  const submitter = async () => {
    for (let now = performance.now(); now < end; ) {
      await log.submit(submission());
      const done = performance.now();
      latencies.push(done - now);
      now = done;
    }
  };
  await Promise.all(Array.from({ length: submitters }, submitter));
  return latencies;
}

/** As our CA makes it; the bytes need not be a certificate, because `submit` trusts its caller. */
export function submission(): PrecertSubmission {
  const tbs = randomBytes(size.tbs);
  const precertificate = Buffer.alloc(size.precertificate, createHash('sha256').update(tbs).digest());
  return { precertificate, chain, tbs, issuerKeyHash };
}

/** The storage, with the checkpoints it committed counted. */
function countCommits(storage: LogStorage): { storage: LogStorage; commits: () => number } {
  let commits = 0;
  const counting = new Proxy(storage, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (name === 'replaceCheckpoint') commits += 1;
      return value.bind(target);
    },
  });
  return { storage: counting, commits: () => commits };
}
