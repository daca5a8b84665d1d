import { mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { benchSize } from './log-size.js';
import { benchSubmit } from './log-submit.js';

const usage = `npm run bench:log -- [submit | size] [options]
  submit             SCTs and commits a second, p50 and p99, by concurrent submitters (the default)
    --submitters     1,16,64,256
    --seconds        for each of them (5)
  size               start-up, submit, proofs and disk space, by the size of the log
    --entries        1000,100000
    --tbs            bytes of an entry's TBSCertificate (48)
    --precertificate bytes of an entry's precertificate (64)
  --dir              directory on the disk to measure (.cache)`;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      submitters: { type: 'string', default: '1,16,64,256' },
      seconds: { type: 'string', default: '5' },
      entries: { type: 'string', default: '1000,100000' },
      tbs: { type: 'string', default: '48' },
      precertificate: { type: 'string', default: '64' },
      dir: { type: 'string', default: '.cache' },
      help: { type: 'boolean', default: false },
    },
  });
  const [what = 'submit', ...rest] = positionals;
  const parent = values.dir;
  const bytes = { tbs: Number(values.tbs), precertificate: Number(values.precertificate) };
  const benches: Readonly<Record<string, () => Promise<string>>> = {
    submit: () => benchSubmit({ parent, submitters: numbers(values.submitters), seconds: Number(values.seconds) }),
    size: () => benchSize({ parent, entries: numbers(values.entries), bytes }),
  };
  const bench = benches[what];
  if (values.help || bench === undefined || rest.length > 0) {
    say(usage);
    return values.help ? 0 : 2;
  }
  mkdirSync(parent, { recursive: true });
  say(`Node ${process.version}, ${cpus().length} processors (${cpus()[0]?.model ?? 'unknown'})\n`);
  say(await bench());
  return 0;
}

const numbers = (text: string): number[] =>
  text.split(',').map((part) => {
    if (!/^[1-9]\d*$/.test(part)) throw new Error(`"${part}" is not a number; expected numbers separated by commas`);
    return Number(part);
  });

process.exitCode = await main();
