import { fileURLToPath } from 'node:url';
import { lastLine } from './wrk.js';

/** What came of requests that were sent at a pace; times in milliseconds. */
export interface PacedResult {
  readonly seconds: number;
  /** Answers by HTTP status. */
  readonly statuses: ReadonlyMap<number, number>;
  readonly offeredPerSecond: number;
  readonly certificates: number;
  readonly certificatesPerSecond: number;
  /** Of all certificates, from the first second on. */
  readonly p50: number;
  readonly p99: number;
  /** Of certificates in the first second, when whatever waits in a queue fills it. */
  readonly onsetP99: number;
  /** Connections that failed, broke or timed out. */
  readonly broken: number;
}

export interface PacedOptions {
  readonly url: string;
  readonly corpus: string;
  readonly connections: number;
  readonly seconds: number;
  /** Mean of the pause of each connection before a request; 0: the next one follows the answer. */
  readonly pauseMs: number;
}

const script = fileURLToPath(new URL('overload.lua', import.meta.url));

/** Drives an HTTP server with wrk, telling certificates from refusals; throws when wrk is missing. */
export async function runPaced({ url, corpus, connections, seconds, pauseMs }: PacedOptions): Promise<PacedResult> {
  const load = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s'];
  const line = await lastLine('wrk', [...load, '-s', script, url, '--', corpus, `${pauseMs}`]);
  const result = JSON.parse(line) as WrkResult;
  const statuses = new Map(result.statuses);
  const count = (of: Buckets): number => of.reduce((sum, [, times]) => sum + times, 0);
  const certificates = count(result.onset) + count(result.steady);
  return {
    seconds: result.seconds,
    broken: result.broken,
    statuses,
    offeredPerSecond: count(result.statuses) / result.seconds,
    certificates,
    certificatesPerSecond: certificates / result.seconds,
    p50: percentile([...result.onset, ...result.steady], 0.5),
    p99: percentile([...result.onset, ...result.steady], 0.99),
    onsetP99: percentile(result.onset, 0.99),
  };
}

/** Pairs of a key and how often it was counted. */
type Buckets = readonly (readonly [key: number, times: number])[];

interface WrkResult {
  readonly seconds: number;
  readonly broken: number;
  readonly statuses: Buckets;
  readonly onset: Buckets;
  readonly steady: Buckets;
}

/** In milliseconds, of buckets of a tenth of one. */
function percentile(buckets: Buckets, share: number): number {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const rank = share * sorted.reduce((sum, [, times]) => sum + times, 0);
  let seen = 0;
  for (const [bucket, times] of sorted) {
    seen += times;
    if (seen >= rank) return (bucket + 1) / 10;
  }
  return Number.NaN;
}
