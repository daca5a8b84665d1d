import { parseArgs } from 'node:util';
import { runKills } from './kills.js';

const usage = `npm run test:fault -- [--kills N] [--seed S] [--every K] [--clients C] [--main FILE]
  --kills     how often the server is killed (1000)
  --seed      any text; printed at the start, and the kills come at the same moments again with it
  --every     kills between two checks of the whole log (100)
  --clients   concurrent clients (16)
  --main      the built server (dist/main.js)`;

const say = (text: string): void => void process.stdout.write(`kill test: ${text}\n`);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '1000' },
      seed: { type: 'string', default: String(Date.now()) },
      every: { type: 'string', default: '100' },
      clients: { type: 'string', default: '16' },
      main: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const [kills, checkEvery, clients] = [values.kills, values.every, values.clients].map(Number);
  const valid = [kills, checkEvery, clients].every((n) => Number.isInteger(n) && Number(n) > 0);
  if (values.help || !valid || kills === undefined || checkEvery === undefined || clients === undefined) {
    process.stdout.write(`${usage}\n`);
    return values.help ? 0 : 2;
  }
  const { seed } = values;
  say(`seed ${seed}`);
  const started = performance.now();
  const sayWhen = (text: string): void => say(`${seconds(started)} s: ${text}`);
  const outcome = await runKills({ kills, seed, checkEvery, clients, main: values.main, say: sayWhen });
  const { lost, forked, backwards, details, dataDir } = outcome;
  for (const detail of details) say(`FAILURE: ${detail}`);
  if (dataDir !== undefined) say(`the data is in ${dataDir}`);
  const seen = `${outcome.certificates} certificates, ${outcome.heads} tree heads and ${outcome.proofs} proofs`;
  say(`${seen} handed out were held against ${outcome.entries} entries; ${memory()}`);
  const ok = lost + forked + backwards === 0;
  const result = `${lost} lost, ${forked} forked, ${backwards} tree heads going backwards`;
  const made = `${outcome.kills} kills (${outcome.duringStart} of them during a start)`;
  say(`${ok ? 'PASSED' : 'FAILED'}: ${made}: ${result}; seed ${seed}, ${seconds(started)} s`);
  return ok ? 0 : 1;
}

const seconds = (since: number): string => ((performance.now() - since) / 1000).toFixed(0);
const memory = (): string => `this program used ${(process.memoryUsage.rss() / 2 ** 20).toFixed(0)} MiB`;

process.exitCode = await main();
