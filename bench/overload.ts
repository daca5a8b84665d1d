import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { makeCa } from '../test/interop/openssl-ca.js';
import { startBenchIssuer, writeCorpus } from './lib/corpus.js';
import { duration, table } from './lib/figures.js';
import { type PacedResult, runPaced } from './lib/paced.js';
import { processFigures } from './lib/process.js';
import { type CorpusRequest, certificateCheck, firstRequests, sendRequest } from './lib/sample.js';
import { startMayfly, type Target } from './lib/targets.js';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

/** Concurrency at which capacity is looked for: the best of them counts. */
const capacityConnections = [32, 64, 128];
const recoveryWithinMs = 5000;
const mostGrowthMb = 300;
const mostRatio = 3;

const usage = `npm run bench:overload -- [options] [-- flags of serve]
What becomes of accepted requests when five times as many come as can be done.
  --times        of the capacity that is offered (5)
  --seconds      of each load (10)
  --runs         each with a fresh server (3)
  --connections  that offer the overload (2000)
  --ca           P-256 (or P-384)
  --requests     distinct tokens and keys (4000)
  --main         the Mayfly to run (dist/main.js: npm run build first)
  --dir          a directory on the disk to measure (.cache)
Fails when a certificate is missing from the log, recovery takes more than five seconds, resident memory grows by more
than ${mostGrowthMb} MB, or the median of the runs' ratios of p99 (overload to capacity) is above ${mostRatio}.`;

interface Run {
  readonly capacity: PacedResult;
  readonly overload: PacedResult;
  readonly rssMb: { readonly atCapacity: number; readonly peak: number };
  readonly recoveryMs: number;
}

/** A careful client beside the load, which keeps and checks every certificate that it gets. */
interface Witness {
  /** Ends it, and resolves with how many certificates it got; throws if one of them is wrong or not in the log. */
  finish(): Promise<number>;
}

async function startWitness(target: Target, requests: readonly CorpusRequest[]): Promise<Witness> {
  const check = await certificateCheck(target);
  const kept: (readonly [CorpusRequest, string])[] = [];
  let ended = false;
  const work = (async () => {
    for (let i = 0; !ended; i++) {
      const request = requests[i % requests.length];
      if (request === undefined) return;
      const answer = await sendRequest(target, request);
      const text = await answer.text();
      if (answer.ok) kept.push([request, text]);
      await sleep(20);
    }
  })();
  return {
    async finish() {
      ended = true;
      await work;
      for (const [request, text] of kept) await check(request, text);
      return kept.length;
    },
  };
}

/** Notes the largest resident memory until it is stopped, in megabytes. */
function watchMemory(pid: number): () => number {
  let peak = 0;
  const look = (): void => {
    peak = Math.max(peak, processFigures(pid).rssBytes / 1e6);
  };
  const timer = setInterval(look, 200);
  return () => {
    clearInterval(timer);
    look();
    return peak;
  };
}

/** How long after a load it takes until ten requests in a row get their certificates as fast as without it. */
async function recovery(target: Target, requests: readonly CorpusRequest[], usualMs: number): Promise<number> {
  const began = performance.now();
  let good = 0;
  for (let i = 0; good < 10; i++) {
    const request = requests[i % requests.length];
    const sent = performance.now();
    if (request === undefined || sent - began > 4 * recoveryWithinMs) return Number.POSITIVE_INFINITY;
    const answer = await sendRequest(target, request);
    await answer.arrayBuffer();
    good = answer.ok && performance.now() - sent <= 3 * usualMs + 5 ? good + 1 : 0;
    if (good === 1 && i > 0) await sleep(10);
  }
  return performance.now() - began;
}

async function idleLatency(target: Target, requests: readonly CorpusRequest[]): Promise<number> {
  const times: number[] = [];
  for (const request of requests) {
    const sent = performance.now();
    await (await sendRequest(target, request)).arrayBuffer();
    times.push(performance.now() - sent);
  }
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN;
}

interface Options {
  readonly times: number;
  readonly seconds: number;
  readonly connections: number;
}

async function runOnce(target: Target, corpus: string, { times, seconds, connections }: Options): Promise<Run> {
  const requests = await firstRequests(corpus, 40);
  const load = { url: target.url, corpus, seconds };
  await runPaced({ ...load, connections: 16, seconds: 4, pauseMs: 0 });
  const usualMs = await idleLatency(target, requests);
  let capacity: PacedResult | undefined;
  for (const concurrent of capacityConnections) {
    const found = await runPaced({ ...load, connections: concurrent, pauseMs: 0 });
    if (found.certificatesPerSecond > (capacity?.certificatesPerSecond ?? 0)) capacity = found;
  }
  if (capacity === undefined) throw new Error('no certificate was issued');
  const atCapacity = processFigures(target.pid).rssBytes / 1e6;
  const witness = await startWitness(target, requests);
  const peakOf = watchMemory(target.pid);
  const pauseMs = Math.round((1000 * connections) / (times * capacity.certificatesPerSecond));
  const before = await counts(target);
  const overload = await runPaced({ ...load, connections, pauseMs });
  const recoveryMs = await recovery(target, requests, usualMs);
  const peak = peakOf();
  const witnessed = await witness.finish();
  await sleep(500);
  const after = await counts(target);
  if (after.issued !== after.logged) throw new Error(`${after.issued} issued, but ${after.logged} in the log`);
  const issued = after.issued - before.issued;
  if (issued < overload.certificates) throw new Error(`${overload.certificates} answered, but ${issued} in the log`);
  say(
    `${overload.certificates} certificates answered under overload, ${issued} issued and in the log until then; ` +
      `${witnessed} kept by the witness, each with its proof of inclusion`,
  );
  return { capacity, overload, rssMb: { atCapacity, peak }, recoveryMs };
}

async function counts(target: Target): Promise<{ issued: number; logged: number }> {
  const checkpoint = await (await fetch(`${target.url}/ctlog/checkpoint`)).text();
  return {
    issued: (await target.metrics()).get('fulcio_new_certs') ?? Number.NaN,
    logged: Number(checkpoint.split('\n')[1]),
  };
}

const ratioOf = ({ capacity, overload }: Pick<Run, 'capacity' | 'overload'>): number => overload.p99 / capacity.p99;

/** What did not hold. */
function failures(runs: readonly Run[]): string[] {
  const ratios = runs.map(ratioOf).sort((a, b) => a - b);
  const median = ratios[Math.floor(ratios.length / 2)] ?? Number.NaN;
  const slowest = Math.max(...runs.map(({ recoveryMs }) => recoveryMs));
  const growth = Math.max(...runs.map(({ rssMb }) => rssMb.peak - rssMb.atCapacity));
  return [
    ...(median <= mostRatio ? [] : [`the median of the ratios is ${median.toFixed(2)}; expected at most ${mostRatio}`]),
    ...(slowest <= recoveryWithinMs ? [] : [`recovery took ${duration(slowest)}; expected ${recoveryWithinMs} ms`]),
    ...(growth <= mostGrowthMb ? [] : [`memory grew by ${growth.toFixed(0)} MB; expected at most ${mostGrowthMb}`]),
  ];
}

function report(runs: readonly Run[]): string {
  const head = ['run', 'capacity/s', 'p99', 'offered/s', 'issued/s', 'p50', 'p99', 'ratio', 'first second p99'];
  const rows = runs.map(({ capacity, overload, rssMb, recoveryMs }, i) => [
    `${i + 1}`,
    capacity.certificatesPerSecond.toFixed(0),
    duration(capacity.p99),
    overload.offeredPerSecond.toFixed(0),
    overload.certificatesPerSecond.toFixed(0),
    duration(overload.p50),
    duration(overload.p99),
    ratioOf({ capacity, overload }).toFixed(2),
    duration(overload.onsetP99),
    `${rssMb.atCapacity.toFixed(0)} → ${rssMb.peak.toFixed(0)}`,
    duration(recoveryMs),
    `${[...overload.statuses].map(([status, count]) => `${status}: ${count}`).join(', ')}; broken: ${overload.broken}`,
  ]);
  return table([[...head, 'RSS MB', 'recovery', 'answers'], ...rows]);
}

async function main(argv: readonly string[]): Promise<number> {
  const text = (fallback: string) => ({ type: 'string', default: fallback }) as const;
  const { values, positionals: flags } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      times: text('5'),
      seconds: text('10'),
      runs: text('3'),
      connections: text('2000'),
      ca: text('P-256'),
      requests: text('4000'),
      main: text('dist/main.js'),
      dir: text('.cache'),
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    say(usage);
    return 0;
  }
  mkdirSync(values.dir, { recursive: true });
  const where = mkdtempSync(join(resolve(values.dir), 'mayfly-overload-'));
  const issuer = await startBenchIssuer('RS256');
  const runs: Run[] = [];
  try {
    const ca = await makeCa(where, values.ca === 'P-384' ? 'P-384' : 'P-256', 'with intermediate');
    const corpus = join(where, 'corpus');
    await writeCorpus({ issuer, api: 'v2', form: 'key', count: Number(values.requests), path: corpus });
    const options = {
      times: Number(values.times),
      seconds: Number(values.seconds),
      connections: Number(values.connections),
    };
    for (let i = 0; i < Number(values.runs); i++) {
      const directory = join(where, `run-${i}`);
      const started = { directory, ca, issuerUrl: issuer.url, main: values.main, node: process.execPath, flags };
      const target = await startMayfly(started);
      try {
        runs.push(await runOnce(target, corpus, options));
      } finally {
        await target.close();
      }
    }
  } finally {
    await issuer.close();
    rmSync(where, { recursive: true, force: true });
  }
  say(report(runs));
  const failed = failures(runs);
  say(failed.length === 0 ? 'holds' : failed.map((failure) => `DOES NOT HOLD: ${failure}`).join('\n'));
  return failed.length === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
