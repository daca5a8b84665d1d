import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { makeCa } from '../test/interop/openssl-ca.js';
import { startBenchIssuer, writeCorpus } from './lib/corpus.js';
import { percentile, table } from './lib/figures.js';
import { startFloor, startFulcio, startMayfly, type Target } from './lib/targets.js';
import { runWrk } from './lib/wrk.js';

const usage = `npm run bench:floor -- [options]   what Node can do at best beside Fulcio and Mayfly, in turns of two seconds
  --turns         of every target (8)
  --connections   64
  --peer-binary   Fulcio's (.cache/interop/bin/fulcio)
  --node          the Node that runs all but Fulcio (this one)
  --dir           a directory on the disk to measure (.cache)`;

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const seconds = 2;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      turns: { type: 'string', default: '8' },
      connections: { type: 'string', default: '64' },
      'peer-binary': { type: 'string', default: '.cache/interop/bin/fulcio' },
      node: { type: 'string', default: process.execPath },
      dir: { type: 'string', default: '.cache' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    say(usage);
    return 0;
  }
  mkdirSync(values.dir, { recursive: true });
  const where = mkdtempSync(join(resolve(values.dir), 'mayfly-floor-'));
  const issuer = await startBenchIssuer('RS256');
  const targets: [string, Target][] = [];
  try {
    const ca = await makeCa(where, 'P-256', 'with intermediate');
    const corpus = join(where, 'corpus');
    await writeCorpus({ issuer, api: 'v2', form: 'key', count: 12_000, path: corpus });
    const { node } = values;
    const at = (name: string) => ({ directory: join(where, name), ca, issuerUrl: issuer.url });
    targets.push(['fulcio, no log', await startFulcio({ ...at('fulcio'), program: values['peer-binary'] })]);
    targets.push(['mayfly, log on', await startMayfly({ ...at('mayfly'), main: 'dist/main.js', node, flags: [] })]);
    targets.push(['floor, one process', await startFloor({ ...at('one'), node, processes: 1 })]);
    targets.push(['floor, two processes', await startFloor({ ...at('two'), node, processes: 2 })]);
    const load = { corpus, connections: Number(values.connections) };
    for (const [, { url }] of targets) await runWrk({ ...load, url, seconds: 4 });
    say(table(await rows(targets, Number(values.turns), load)));
  } finally {
    for (const [, target] of targets) await target.close();
    await issuer.close();
    rmSync(where, { recursive: true, force: true });
  }
  return 0;
}

/** Each target's certificates a second and its ratio to the first one in the same turn: median, smallest, largest. */
async function rows(
  targets: readonly [string, Target][],
  turns: number,
  load: { readonly corpus: string; readonly connections: number },
): Promise<string[][]> {
  const rates = targets.map((): number[] => []);
  for (let turn = 0; turn < turns; turn++) {
    for (const [i, [, { url }]] of targets.entries()) {
      const { requests, failed, seconds: took } = await runWrk({ ...load, url, seconds });
      rates[i]?.push((requests - failed) / took);
    }
  }
  const first = rates[0] ?? [];
  const spread = (values: readonly number[], digits: number): string => {
    const [low, middle, high] = [0, 0.5, 1].map((share) => percentile(values, share).toFixed(digits));
    return `${middle} (${low}–${high})`;
  };
  return [
    ['target', 'certificates/s', `ratio to ${targets[0]?.[0]}`],
    ...targets.map(([name], i) => {
      const mine = rates[i] ?? [];
      return [
        name,
        spread(mine, 0),
        spread(
          mine.map((rate, turn) => rate / (first[turn] ?? Number.NaN)),
          2,
        ),
      ];
    }),
  ];
}

process.exitCode = await main();
