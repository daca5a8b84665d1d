import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { makeCa } from '../test/interop/openssl-ca.js';
import { startBenchIssuer, writeCorpus } from './lib/corpus.js';
import { type Measured, measure } from './lib/measure.js';
import { checkMayfly } from './lib/sample.js';
import { startMayfly } from './lib/targets.js';

const usage = `npm run soak -- [options]   one Mayfly under load for a long time: memory and latency have to stay flat
  --minutes       60
  --window        seconds of each measurement (60)
  --connections   16
  --pause         mean pause of each connection before a request, in milliseconds (none: as much as the server takes)
  --dir           a directory on the disk to measure (.cache)
Flags of mayfly serve go after --. Ends with 1 when memory or latency grew, or a request failed.`;

/** What the last quarter may have more than the second; the first one is for warming up. */
const allowed = { memory: 1.1, p50: 1.3 } as const;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      minutes: { type: 'string', default: '60' },
      window: { type: 'string', default: '60' },
      connections: { type: 'string', default: '16' },
      pause: { type: 'string' },
      dir: { type: 'string', default: '.cache' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    say(usage);
    return 0;
  }
  mkdirSync(values.dir, { recursive: true });
  const where = mkdtempSync(join(resolve(values.dir), 'mayfly-soak-'));
  const issuer = await startBenchIssuer('RS256');
  const ca = await makeCa(where, 'P-256', 'with intermediate');
  const corpus = join(where, 'corpus');
  await writeCorpus({ issuer, api: 'v2', form: 'key', count: 20_000, path: corpus });
  const options = { directory: join(where, 'server'), ca, issuerUrl: issuer.url };
  const target = await startMayfly({ ...options, main: 'dist/main.js', node: process.execPath, flags: positionals });
  const windows: Measured[] = [];
  const pauseMs = values.pause === undefined ? undefined : Number(values.pause);
  try {
    const seconds = Number(values.window);
    const end = performance.now() + Number(values.minutes) * 60_000;
    say('minute  certificates/s  p50 ms  p99 ms  RSS MB  anonymous  errors');
    while (performance.now() < end) {
      const run = await measure(target, {
        api: 'v2',
        corpus,
        connections: Number(values.connections),
        seconds,
        pauseMs,
      });
      windows.push(run);
      const cells = [
        (windows.length * seconds) / 60,
        run.certificatesPerSecond,
        run.p50,
        run.p99,
        run.rssMb,
        run.anonymousMb,
      ];
      say(
        [...cells.map((cell) => cell.toFixed(1)), run.failed + run.broken]
          .map((cell) => `${cell}`.padStart(8))
          .join(''),
      );
    }
    say(await checkMayfly(target, corpus));
  } finally {
    await target.close();
    await issuer.close();
    rmSync(where, { recursive: true, force: true });
  }
  return verdict(windows);
}

function verdict(windows: readonly Measured[]): number {
  const quarter = Math.max(1, Math.floor(windows.length / 4));
  const early = windows.slice(quarter, 2 * quarter);
  const late = windows.slice(-quarter);
  const growth = (value: (run: Measured) => number): number => median(late.map(value)) / median(early.map(value));
  const memory = growth((run) => run.anonymousMb);
  const p50 = growth((run) => run.p50);
  const errors = windows.reduce((sum, run) => sum + run.failed + run.broken, 0);
  say(`last quarter over second: memory × ${memory.toFixed(2)}, p50 × ${p50.toFixed(2)}; ${errors} errors`);
  const flat = errors === 0 && !(memory > allowed.memory) && !(p50 > allowed.p50);
  say(flat ? 'flat' : `not flat; expected at most × ${allowed.memory} memory, × ${allowed.p50} p50 and no errors`);
  return flat ? 0 : 1;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

process.exitCode = await main();
