import { createPrivateKey } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { issuerChain } from '../src/ctlog/candidate.js';
import { decodePemAll } from '../src/x509/pem.js';
import { makeCa } from '../test/interop/openssl-ca.js';
import { startBenchIssuer, writeCorpus } from './lib/corpus.js';
import { duration, percentile, table, timed } from './lib/figures.js';
import { type EntryBytes, generateLog } from './lib/generated-log.js';
import { processFigures } from './lib/process.js';
import { type CorpusRequest, certificateCheck, firstRequests, sendRequest } from './lib/sample.js';
import { type MayflyOptions, startMayfly, type Target } from './lib/targets.js';

const usage = `npm run bench:start -- [options] [-- flags of serve]
From the command \`mayfly serve\` to its first certificate, on a data directory whose log has entries already.
  --entries        1000000
  --starts         measured ones (5)
  --tbs            bytes of an entry's TBSCertificate (450)
  --precertificate bytes of an entry's precertificate (600)
  --node           the Node that runs Mayfly (this one)
  --main           the Mayfly to run (dist/main.js: npm run build first)
  --dir            a directory on the disk to measure (.cache)`;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

/** One start. */
interface Start {
  /** From just before the process was started until its first certificate was there. */
  readonly ms: number;
  /** Processor time that it had used by then: on a busy machine the better figure. */
  readonly cpuMs: number;
  readonly rssMb: number;
  /** Where the certificate is in the log. */
  readonly index: number;
  /** Load average of the last minute, before the start. */
  readonly load: number;
}

async function measureStart(options: MayflyOptions, request: CorpusRequest, entries: number): Promise<Start> {
  const load = loadavg()[0] ?? Number.NaN;
  let answer: string | undefined;
  const isUp = async (url: string): Promise<boolean> => {
    answer = await certificateOf(url, request);
    return answer !== undefined;
  };
  const { ms, value: target } = await timed(() => startMayfly({ ...options, isUp }));
  try {
    const { rssBytes, cpuSeconds } = processFigures(target.pid);
    const check = await certificateCheck(target);
    const index = await check(request, answer ?? '');
    if (index === undefined || index < entries) {
      throw new Error(`the first certificate is entry ${index} of a log that had ${entries} entries before`);
    }
    return { ms, cpuMs: 1000 * cpuSeconds, rssMb: rssBytes / 1e6, index, load };
  } finally {
    await target.close();
  }
}

/** What a client gets that asks a server which may not listen yet, or says that it is starting; undefined then. */
async function certificateOf(url: string, request: CorpusRequest): Promise<string | undefined> {
  const answer = await sendRequest({ url }, request).catch(() => undefined);
  if (answer === undefined) return undefined;
  const text = await answer.text();
  if (answer.ok) return text;
  if (answer.status === 503) return undefined;
  throw new Error(`the first request was answered ${answer.status}: ${text}`);
}

/** Makes the data directory by a first start, and puts entries into its log; says how long the index of them takes. */
async function prepare(options: MayflyOptions, entries: number, bytes: EntryBytes): Promise<void> {
  await (await startMayfly(options)).close();
  const data = join(options.directory, 'data');
  const directory = join(data, 'ctlog');
  const [origin = ''] = readFileSync(join(directory, 'checkpoint'), 'utf8').split('\n');
  const key = createPrivateKey(readFileSync(join(data, 'keys/ctlog/key.pem')));
  const issuers = issuerChain([...decodePemAll(readFileSync(options.ca.chainPath, 'utf8'), 'CERTIFICATE')]);
  const log = { directory, key, origin, issuers, size: entries, bytes, clock: Date.now };
  const generated = await timed(() => generateLog(log));
  say(`${entries.toLocaleString('en')} entries written by a generator in ${duration(generated.ms)}`);
  const { ms, value: target } = await timed(() => startMayfly(options));
  try {
    const indexed = await timed(() => untilIndexed(target, entries));
    say(`start without an index: ready in ${duration(ms)}, the index complete ${duration(indexed.ms)} later`);
  } finally {
    await target.close();
  }
}

/** Resolves when the log knows for sure that it has no entry with a hash that is none's; until then it answers 503. */
async function untilIndexed({ url }: Target, size: number): Promise<void> {
  const nobody = encodeURIComponent(Buffer.alloc(32).toString('base64'));
  for (;;) {
    const answer = await fetch(`${url}/ctlog/ct/v1/get-proof-by-hash?hash=${nobody}&tree_size=${size}`);
    const text = await answer.text();
    if (answer.status === 404) return;
    if (answer.status !== 503) throw new Error(`get-proof-by-hash was answered ${answer.status}: ${text}`);
    await sleep(100);
  }
}

function report(starts: readonly Start[]): string {
  const head = ['start', 'first certificate, ms', 'processor time, ms', 'RSS MB', 'its entry', 'load average before'];
  const rows = starts.map(({ ms, cpuMs, rssMb, index, load }, i) =>
    [i + 1, ms.toFixed(0), cpuMs.toFixed(0), rssMb.toFixed(0), index, load.toFixed(1)].map((cell) => `${cell}`),
  );
  const spread = (value: (start: Start) => number): string => {
    const values = starts.map(value);
    const [median, least, most] = [percentile(values, 0.5), Math.min(...values), Math.max(...values)];
    return `${median.toFixed(0)} (${least.toFixed(0)}–${most.toFixed(0)})`;
  };
  const [times, cpu, memory] = [spread(({ ms }) => ms), spread(({ cpuMs }) => cpuMs), spread(({ rssMb }) => rssMb)];
  return (
    `${table([head, ...rows])}\nstart to first certificate: ${times} ms, with ${cpu} ms of processor time; ` +
    `${memory} MB resident then. Medians with the smallest and largest.`
  );
}

function whole(name: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`--${name} is "${text}"; expected a number from 1 on`);
  return Number(text);
}

async function main(argv: readonly string[]): Promise<number> {
  const text = (fallback: string) => ({ type: 'string', default: fallback }) as const;
  const { values, positionals: flags } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      entries: text('1000000'),
      starts: text('5'),
      tbs: text('450'),
      precertificate: text('600'),
      node: text(process.execPath),
      main: text('dist/main.js'),
      dir: text('.cache'),
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    say(usage);
    return 0;
  }
  const entries = whole('entries', values.entries);
  const count = whole('starts', values.starts);
  const bytes = { tbs: whole('tbs', values.tbs), precertificate: whole('precertificate', values.precertificate) };
  mkdirSync(values.dir, { recursive: true });
  const where = mkdtempSync(join(resolve(values.dir), 'mayfly-start-'));
  const issuer = await startBenchIssuer('RS256');
  try {
    const ca = await makeCa(where, 'P-256', 'with intermediate');
    const corpus = join(where, 'corpus');
    await writeCorpus({ issuer, api: 'v2', form: 'key', count, path: corpus });
    const { main, node } = values;
    const options = { directory: join(where, 'server'), ca, issuerUrl: issuer.url, main, node, flags };
    say(`Node ${process.version}, ${cpus().length} processors (${cpus()[0]?.model ?? 'unknown'})`);
    await prepare(options, entries, bytes);
    const starts: Start[] = [];
    for (const request of await firstRequests(corpus, count)) {
      starts.push(await measureStart(options, request, entries));
    }
    say(`\n${report(starts)}`);
  } finally {
    await issuer.close();
    rmSync(where, { recursive: true, force: true });
  }
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
