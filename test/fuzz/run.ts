import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Failure, fuzz, inputOf, type Targets } from './fuzz.js';
import { keyTargets } from './key-targets.js';
import { messageTargets } from './message-targets.js';
import { type ServerProcess, startServerProcess } from './server-process.js';
import { serverTargets } from './server-targets.js';
import type { Input, Target } from './target.js';
import { tokenTargets } from './token-targets.js';
import { startWatchdog } from './watchdog.js';

const usage = `npm run fuzz -- [--count N] [--seed S] [--kind K[,K…]] [--only INDEX | --input FILE]
  --count   inputs in all (1000000)
  --seed    any text; printed at the start, and the same inputs come again with it
  --kind    only these targets
  --only    only this input of the one kind given, as a failure names it
  --input   only what this file holds: a failure's input as it was saved (keys differ from run to run, the seed does not fix them)`;

const say = (text: string): void => void process.stdout.write(`fuzz: ${text}\n`);

/** Growth of the server between the first third of its requests and the end that counts as a leak, in MiB. */
const allowedGrowthMiB = 64;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '1000000' },
      seed: { type: 'string', default: String(Date.now()) },
      kind: { type: 'string' },
      only: { type: 'string' },
      input: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const count = Number(values.count);
  if (values.help || !Number.isInteger(count) || count < 1) {
    process.stdout.write(`${usage}\n`);
    return values.help ? 0 : 2;
  }
  say(`seed ${values.seed}`);
  const server = await startServerProcess();
  const asking = serverTargets(server);
  const all: Targets = { ...(await tokenTargets()), ...(await keyTargets()), ...messageTargets, ...asking.targets };
  try {
    const targets = chosen(all, values.kind);
    const { only, input, seed } = values;
    if (input !== undefined) return await runOne(targets, () => readFileSync(input));
    if (only !== undefined) return await runOne(targets, (target, kind) => inputOf(target, kind, seed, Number(only)));
    return await runAll(targets, values.seed, count, server);
  } finally {
    asking.close();
    await server.stop();
  }
}

function chosen(all: Targets, kinds: string | undefined): Targets {
  if (kinds === undefined) return all;
  return Object.fromEntries(
    kinds.split(',').map((kind) => {
      const target = all[kind];
      if (target === undefined) throw new Error(`no kind "${kind}"; expected some of ${Object.keys(all).join(', ')}`);
      return [kind, target];
    }),
  );
}

async function runOne(targets: Targets, make: (target: Target, kind: string) => Input): Promise<number> {
  for (const [kind, target] of Object.entries(targets)) {
    const input = make(target, kind);
    process.stdout.write(`${String(input)}\n`);
    say(`no failure; ${(await target.run(input)) ? 'accepted' : 'refused'}`);
  }
  return 0;
}

async function runAll(targets: Targets, seed: string, count: number, server: ServerProcess): Promise<number> {
  const started = performance.now();
  const watchdog = startWatchdog(60_000, `run again with --seed ${seed}`);
  const memory = { warm: 0 };
  const every = Math.max(1, Math.floor(count / 10));
  const { failures, counts } = await fuzz(targets, {
    seed,
    count,
    concurrency: 16,
    slowMs: 2_000,
    maxFailures: 20,
    onDone(done) {
      watchdog.alive();
      if (done === Math.floor(count / 3)) memory.warm = server.anonymousMiB();
      if (done % every === 0)
        say(`${done} inputs, ${seconds(started)} s, server ${server.anonymousMiB().toFixed(0)} MiB`);
    },
  });
  await watchdog.stop();
  for (const failure of failures) report(failure, seed);
  const running = server.isRunning();
  if (!running) say('FAILURE: the server is not running any more');
  const growth = running ? server.anonymousMiB() - memory.warm : 0;
  const grew = growth > allowedGrowthMiB;
  if (grew) say(`FAILURE: the server grew by ${growth.toFixed(0)} MiB; expected at most ${allowedGrowthMiB}`);
  const ok = failures.length === 0 && running && !grew;
  const kinds = [...counts].map(([kind, { fed, accepted }]) => `${kind} ${accepted}/${fed}`).join(', ');
  say(`${ok ? 'PASSED' : 'FAILED'}: accepted/fed: ${kinds}`);
  say(
    `seed ${seed}, ${failures.length} failures, server ${growth >= 0 ? '+' : ''}${growth.toFixed(1)} MiB since warm, ${seconds(started)} s`,
  );
  return ok ? 0 : 1;
}

function report({ kind, index, input, error }: Failure, seed: string): void {
  const file = join(mkdtempSync(join(tmpdir(), 'mayfly-fuzz-failure-')), `${kind}-${index}`);
  writeFileSync(file, input);
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  say(`FAILURE: --seed ${seed} --kind ${kind} --only ${index}; the input is in ${file}\n${text.slice(0, 1_500)}`);
}

const seconds = (since: number): string => ((performance.now() - since) / 1000).toFixed(0);

process.exitCode = await main();
