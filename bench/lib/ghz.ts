import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type LoadOptions, type LoadResult, lastLine } from './wrk.js';

const installed = fileURLToPath(new URL('../../.cache/interop/bin/ghz', import.meta.url));

/** Drives a gRPC server with ghz (`test/interop/setup.sh ghz` installs it), by server reflection. */
export async function runGhz({ url, corpus, connections, seconds }: LoadOptions): Promise<LoadResult> {
  const found = spawnSync(installed, ['--version']).status === 0 ? installed : 'ghz';
  const args = [
    ...['--insecure', '--call', 'dev.sigstore.fulcio.v2.CA.CreateSigningCertificate', '--data-file', corpus],
    ...['--concurrency', `${connections}`, '--connections', `${Math.min(connections, 16)}`],
    ...['--duration', `${seconds}s`, '--duration-stop', 'wait', '--format', 'json', url],
  ];
  const report = JSON.parse(await lastLine(found, args)) as Report;
  const at = (share: number) =>
    (report.latencyDistribution?.find((row) => row.percentage === share)?.latency ?? 0) / 1e6;
  const good = report.statusCodeDistribution?.OK ?? 0;
  return {
    requests: report.count,
    seconds: report.total / 1e9,
    p50: at(50),
    p95: at(95),
    p99: at(99),
    max: report.slowest / 1e6,
    failed: report.count - good,
    broken: report.statusCodeDistribution?.Unavailable ?? 0,
  };
}

/** What of ghz's JSON report is read; durations in nanoseconds. */
interface Report {
  readonly count: number;
  readonly total: number;
  readonly slowest: number;
  readonly latencyDistribution?: readonly { readonly percentage: number; readonly latency: number }[];
  readonly statusCodeDistribution?: Readonly<Record<string, number>>;
}
