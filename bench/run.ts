import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { makeCa } from '../test/interop/openssl-ca.js';
import { startBenchIssuer, writeCorpus } from './lib/corpus.js';
import { type Measured, measure } from './lib/measure.js';
import { figuresTable, ratioTable, type Series } from './lib/report.js';
import { checkMayfly } from './lib/sample.js';
import { startFulcio, startMayfly, type Target, type TargetOptions } from './lib/targets.js';
import { type BenchOptions, benchOptions, usage, type Variant } from './options.js';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

/** A certificate authority to measure, started anew for every alternation. */
interface Contestant {
  readonly name: string;
  start(options: TargetOptions): Promise<Target>;
  /** Looks at what the load left behind; throws if it is wrong. */
  check?(target: Target, corpus: string): Promise<string>;
}

function contestants({ main, node, flags, peer, peerCtLogUrl }: BenchOptions): Contestant[] {
  const mayfly: Contestant = {
    name: 'mayfly, log on',
    start: (options) => startMayfly({ ...options, main, node, flags }),
    check: checkMayfly,
  };
  if (peer === undefined) return [mayfly];
  const program = existsSync(peer) ? peer : 'fulcio';
  const fulcio = (name: string, ctLogUrl?: string): Contestant => ({
    name,
    start: (options) => startFulcio({ ...options, program, ctLogUrl }),
  });
  const withLog = peerCtLogUrl === undefined ? [] : [fulcio('fulcio, with a log', peerCtLogUrl)];
  return [mayfly, fulcio('fulcio, no log'), ...withLog];
}

async function benchVariant(variant: Variant, options: BenchOptions, dir: string): Promise<void> {
  const { api, ca: curve, token, form } = variant;
  const where = mkdtempSync(join(dir, 'mayfly-bench-'));
  const issuer = await startBenchIssuer(token);
  try {
    const ca = await makeCa(where, curve, 'with intermediate');
    const corpus = join(where, 'corpus');
    await writeCorpus({ issuer, api, form, count: options.requests, path: corpus });
    say(`\n## ${api}, ${curve} CA, ${token} tokens, by ${form === 'key' ? 'public key' : 'CSR'}\n`);
    const series: Series[] = [];
    const all = contestants(options);
    for (let turn = 0; turn < options.alternations; turn++) {
      // Whoever runs second meets a warmer machine, so they take turns at it.
      for (const contestant of turn % 2 === 0 ? all : [...all].reverse()) {
        const directory = join(where, `${contestant.name.replaceAll(/\W+/g, '-')}-${turn}`);
        mkdirSync(directory);
        await runOnce(contestant, { directory, ca, issuerUrl: issuer.url }, { api, corpus }, options, series);
        rmSync(directory, { recursive: true, force: true });
      }
    }
    say(figuresTable(series));
    if (all.length > 1) say(ratioTable(series, 'mayfly, log on'));
  } finally {
    await issuer.close();
    rmSync(where, { recursive: true, force: true });
  }
}

async function runOnce(
  contestant: Contestant,
  target: TargetOptions,
  load: { readonly api: Variant['api']; readonly corpus: string },
  options: BenchOptions,
  series: Series[],
): Promise<void> {
  const running = await contestant.start(target);
  try {
    await measure(running, { ...load, connections: 16, seconds: options.warmUpSeconds });
    for (const connections of options.connections) {
      const measured: Measured = await measure(running, { ...load, connections, seconds: options.seconds });
      const known = series.find((row) => row.name === contestant.name && row.connections === connections);
      if (known === undefined) series.push({ name: contestant.name, connections, runs: [measured] });
      else known.runs.push(measured);
    }
    if (load.api !== 'grpc' && contestant.check !== undefined) {
      say(`${contestant.name}: ${await contestant.check(running, load.corpus)}`);
    }
  } finally {
    await running.close();
  }
}

async function main(): Promise<number> {
  let options: BenchOptions | undefined;
  try {
    options = benchOptions(process.argv.slice(2));
  } catch (error) {
    say(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  if (options === undefined) {
    say(usage);
    return 0;
  }
  mkdirSync(options.dir, { recursive: true });
  const processors = cpus();
  say(
    `Node ${process.version}, ${processors.length} processors (${processors[0]?.model ?? 'unknown'}), load from wrk on the same`,
  );
  for (const variant of options.variants) await benchVariant(variant, options, resolve(options.dir));
  return 0;
}

process.exitCode = await main();
