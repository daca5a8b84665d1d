import { setTimeout as sleep } from 'node:timers/promises';
import { createRandom, type Random } from '../fuzz/random.js';
import { type Received, startLoad } from '../support/load.js';
import { Ledger, type Verdict } from './ledger.js';
import { startReaders } from './readers.js';
import { createInstance, email, type Instance } from './server.js';

export interface KillOptions {
  readonly kills: number;
  /** Any text; the same moments of the kills again, as far as a program can have that under load. */
  readonly seed: string;
  /** Kills between two checks of the whole log. */
  readonly checkEvery: number;
  readonly clients: number;
  readonly main?: string | undefined;
  /** Told what happened after each check. */
  readonly say?: (text: string) => void;
}

/** What a run of kills came to. */
export interface KillOutcome extends Verdict {
  /** Kills that were made, under load and during a start. */
  readonly kills: number;
  readonly duringStart: number;
  readonly certificates: number;
  readonly entries: number;
  readonly heads: number;
  readonly proofs: number;
  /** Where the data is, if anything was wrong; it is removed otherwise. */
  readonly dataDir: string | undefined;
}

/** One in this many kills hits a server that is starting: it is recovering from the kill before. */
const startShare = 0.3;
const loadMs = { least: 20, range: 280 };

interface Run {
  readonly options: KillOptions;
  readonly instance: Instance;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly token: string;
  readonly count: { kills: number; duringStart: number; proofs: number };
  /** How long the last start took, from spawn to ready. */
  startMs: number;
}

/**
 * Kills a server with SIGKILL at random moments, under load and while it starts, and holds its log against every SCT,
 * tree head and proof that anybody got. Ends at the first check that fails.
 */
export async function runKills(options: KillOptions): Promise<KillOutcome> {
  const instance = await createInstance({ main: options.main });
  const ledger = new Ledger();
  const random = createRandom(options.seed);
  const count = { kills: 0, duringStart: 0, proofs: 0 };
  const run: Run = { options, instance, ledger, random, token: await instance.token(), count, startMs: 400 };
  let entries = 0;
  const failed = (): boolean => {
    const { lost, forked, backwards } = ledger.verdict();
    return lost + forked + backwards > 0;
  };
  let ok = false;
  try {
    while (count.kills < options.kills && !failed()) {
      await killOnce(run);
      if (count.kills % options.checkEvery !== 0 && count.kills < options.kills) continue;
      entries = await check(run);
      options.say?.(`${count.kills} kills, ${ledger.certificates} certificates, ${entries} entries checked`);
    }
    ok = !failed();
  } finally {
    await instance.close({ keep: !ok });
  }
  const { certificates, headsSeen: heads } = ledger;
  const dataDir = ok ? undefined : instance.dataDir;
  return { ...ledger.verdict(), ...count, certificates, entries, heads, dataDir };
}

/** Starts the server and kills it. */
async function killOnce(run: Run): Promise<void> {
  const { random, count } = run;
  count.kills += 1;
  // The first start makes keys, which is another room's business (test/ca).
  if (count.kills > 1 && random.chance(startShare)) {
    count.duringStart += 1;
    const server = run.instance.spawn();
    await sleep(random.below(Math.ceil(run.startMs * 1.2)));
    await server.stop('SIGKILL');
    return;
  }
  const spawned = performance.now();
  const server = await run.instance.start();
  run.startMs = performance.now() - spawned;
  await underLoad(run, loadMs.least + random.below(loadMs.range), () => server.stop('SIGKILL'));
}

/** Load and readers for a while, then `end`, then everything that was received goes to the ledger. */
async function underLoad(run: Run, ms: number, end: () => Promise<void>): Promise<void> {
  const { instance, ledger, options } = run;
  const load = startLoad(instance.url, run.token, email, options.clients);
  const readers = startReaders(instance, ledger, load.received);
  await sleep(ms);
  await end();
  await load.stop();
  await readers.stop();
  note(run, load.received);
  run.count.proofs += readers.proofs.inclusion + readers.proofs.consistency;
}

function note({ instance, ledger }: Run, received: readonly Received[]): void {
  const logKey = instance.logKey();
  for (const certificate of received) ledger.promised(certificate, logKey);
}

/** Starts the server once more, lets it recover and end in peace, and checks what it left. */
async function check({ instance, ledger }: Run): Promise<number> {
  const server = await instance.start();
  const head = await instance.head();
  ledger.saw(head);
  await server.stop('SIGTERM');
  const { logDir: directory, origin } = instance;
  const { size } = await ledger.check({ directory, origin, key: instance.logKey() });
  if (size !== head.size) throw new Error(`the stopped log has ${size} entries; its last tree head had ${head.size}`);
  return size;
}
