import type { Api } from './corpus.js';
import { runGhz } from './ghz.js';
import { processFigures } from './process.js';
import type { Target } from './targets.js';
import { type LoadResult, runWrk } from './wrk.js';

/** One target under one load. */
export interface Measured extends LoadResult {
  readonly certificatesPerSecond: number;
  /** Milliseconds of processor time, user and system, that the target spent on each certificate. */
  readonly cpuMsPerCertificate: number;
  readonly rssMb: number;
  /** Without the pages of files. */
  readonly anonymousMb: number;
  /** Commits of the embedded log; undefined for a target that has none. */
  readonly commitsPerSecond: number | undefined;
  /** 99th percentile of what the event loop is late by; undefined for a target without one. */
  readonly eventLoopLagMs: number | undefined;
}

export interface MeasureOptions {
  readonly api: Api;
  readonly corpus: string;
  readonly connections: number;
  readonly seconds: number;
  /** As runWrk has it; not for gRPC. */
  readonly pauseMs?: number | undefined;
}

/** Certificates issued since the start, by Fulcio's name for it, which Mayfly keeps. */
const issuedMetric = 'fulcio_new_certs';
const commitsMetric = 'mayfly_ctlog_commits_total';

/** Puts one load on a target and says what came of it, counting certificates as the target counts them. */
export async function measure(target: Target, options: MeasureOptions): Promise<Measured> {
  const before = await snapshot(target);
  const { api, corpus, connections, seconds, pauseMs } = options;
  const load =
    api === 'grpc'
      ? await runGhz({ url: target.grpcAddress, corpus, connections, seconds })
      : await runWrk({ url: target.url, corpus, connections, seconds, pauseMs });
  const after = await snapshot(target);
  const certificates = after.issued - before.issued;
  const commits = after.commits === undefined ? undefined : after.commits - (before.commits ?? 0);
  return {
    ...load,
    certificatesPerSecond: (load.requests - load.failed) / load.seconds,
    cpuMsPerCertificate: (1000 * (after.cpuSeconds - before.cpuSeconds)) / certificates,
    rssMb: after.rssBytes / 1e6,
    anonymousMb: after.anonymousBytes / 1e6,
    commitsPerSecond: commits === undefined ? undefined : commits / load.seconds,
    eventLoopLagMs: after.lagSeconds === undefined ? undefined : 1000 * after.lagSeconds,
  };
}

async function snapshot(target: Target) {
  const metrics = await target.metrics();
  const issued = metrics.get(issuedMetric) ?? 0;
  const lagSeconds = metrics.get('nodejs_eventloop_lag_p99_seconds');
  return { ...processFigures(target.pid), issued, commits: metrics.get(commitsMetric), lagSeconds };
}
