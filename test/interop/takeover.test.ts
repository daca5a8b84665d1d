import { createPublicKey, randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeMerkleTreeLeaf, encodeTimestampedEntry } from '../../src/ct/leaf.js';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import type { Sct } from '../../src/ct/log.js';
import { verifySct } from '../../src/ct/sct.js';
import { type CheckedLog, checkLog } from '../../src/ctlog/check.js';
import { openCheckpoint, type SignedTreeHead } from '../../src/ctlog/checkpoint.js';
import { appendLeaves, leafHash, noPeaks, peaksRoot } from '../../src/ctlog/merkle.js';
import { readObjectStore } from '../../src/ctlog/object-storage.js';
import { chain, issuerKeyHash } from '../ctlog/certificates.js';
import { newLogKey, origin } from '../ctlog/fixtures.js';
import { type PostgresServer, startPostgres } from './postgres-server.js';
import { type S3Server, startS3 } from './s3-server.js';
import { freePort, type RunningServer, startServer } from './server-process.js';
import { fromWire, submissionOf, type WireSct, type WriterSettings } from './takeover-writer.js';

const kills = Number(process.env.KILLS ?? '4');
const pauses = Number(process.env.PAUSES ?? '2');
const clients = 16;
const leaseMs = 2_000;

interface Writer {
  readonly url: string;
  readonly settingsPath: string;
  process: RunningServer | undefined;
}

interface Promised {
  readonly tbs: Uint8Array;
  readonly sct: Sct;
}

const key = newLogKey();
const publicKey = createPublicKey(key);
const identity = { chain: chain.map(base64), issuerKeyHash: base64(issuerKeyHash) };
const dir = mkdtempSync(join(tmpdir(), 'mayfly-takeover-'));
let s3: S3Server;
let postgres: PostgresServer;
let writers: [Writer, Writer];

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

beforeAll(async () => {
  chmodSync(dir, 0o755);
  [s3, postgres] = await Promise.all([startS3(dir), startPostgres(dir)]);
  writers = [await newWriter('a'), await newWriter('b')];
}, 60_000);

afterAll(async () => {
  for (const writer of writers ?? []) await writer.process?.close();
  await postgres?.close();
  await s3?.close();
  await rm(dir, { recursive: true, force: true });
}, 60_000);

async function newWriter(name: string): Promise<Writer> {
  const port = await freePort();
  const settingsPath = join(dir, `${name}.json`);
  const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const indexDir = join(dir, `index-${name}`);
  const settings: WriterSettings = {
    ...{ s3: s3.s3, postgres: postgres.url, leaseMs, indexDir, port, origin },
    ...{ key: pem, ...identity },
  };
  writeFileSync(settingsPath, JSON.stringify(settings));
  return { url: `http://127.0.0.1:${port}`, settingsPath, process: undefined };
}

async function start(writer: Writer): Promise<void> {
  writer.process = await startServer({
    name: `writer at ${writer.url}`,
    command: process.execPath,
    args: [join(import.meta.dirname, 'takeover-start.mjs'), writer.settingsPath],
    cwd: dir,
    readyUrl: `${writer.url}/alive`,
  });
}

async function isReady({ url }: Writer): Promise<boolean> {
  const response = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(500) }).catch(() => undefined);
  return response?.status === 200;
}

/** Clients that submit without pause, to whichever writer answers, and remember every SCT. */
function startClients(promised: Promised[]): { stop: () => Promise<void> } {
  let stopped = false;
  const client = async (number: number) => {
    let at = number;
    while (!stopped) {
      const tbs = randomBytes(40);
      // The same entry again after a failure, as a client would.
      for (let tries = 0; !stopped || tries === 0; tries += 1) {
        const { url } = writers[at % 2] as Writer;
        const sct = await submit(url, tbs);
        if (sct !== undefined) {
          promised.push({ tbs, sct });
          break;
        }
        at += 1;
        await sleep(20);
      }
    }
  };
  const all = Array.from({ length: clients }, (_, number) => client(number));
  return {
    stop: async () => {
      stopped = true;
      await Promise.all(all);
    },
  };
}

async function submit(url: string, body: Uint8Array<ArrayBuffer>): Promise<Sct | undefined> {
  try {
    const response = await fetch(`${url}/submit`, { method: 'POST', body, signal: AbortSignal.timeout(6_000) });
    return response.status === 200 ? fromWire((await response.json()) as WireSct) : undefined;
  } catch {
    return undefined;
  }
}

/** Reads the published checkpoint over and over, as a monitor does. */
async function startMonitor(seen: SignedTreeHead[]): Promise<{ stop: () => Promise<void> }> {
  const reader = await readObjectStore(s3.s3);
  let stopped = false;
  const run = async () => {
    while (!stopped) {
      const bytes = await reader.fetch('checkpoint');
      if (bytes !== undefined) seen.push(openCheckpoint(bytes, { origin, logKey: publicKey }));
      await sleep(15);
    }
    reader.close();
  };
  const running = run();
  return {
    stop: () => {
      stopped = true;
      return running;
    },
  };
}

/** Asks `writer` alone for an SCT until it gives one. */
async function untilPromise(writer: Writer, promised: Promised[]): Promise<void> {
  const tbs = randomBytes(40);
  for (const deadline = Date.now() + 30_000; ; await sleep(5)) {
    const sct = await submit(writer.url, tbs);
    if (sct !== undefined) return void promised.push({ tbs, sct });
    if (Date.now() > deadline)
      throw new Error(`no takeover\n${writers.map((one) => one.process?.printed()).join('\n')}`);
  }
}

function requireKept(log: CheckedLog, promised: readonly Promised[]): void {
  const broken = promised.filter(({ tbs, sct }) => {
    const { entry } = log.leaves[decodeLeafIndex(sct.extensions) ?? -1] ?? {};
    const same = entry?.entry.type === 'precert' && Buffer.compare(entry.entry.tbs, tbs) === 0;
    return !same || entry.timestamp !== sct.timestamp || !verifySct(sct, submissionOf(tbs, identity), publicKey);
  });
  expect(broken).toEqual([]);
}

/** Each head that was seen is the root of a prefix of the log, and none is older than the one seen before it. */
function requireConsistent(log: CheckedLog, seen: readonly SignedTreeHead[]): void {
  const hashes = log.leaves.map(({ entry }) => leafHash(encodeMerkleTreeLeaf(encodeTimestampedEntry(entry))));
  let last = { size: 0, timestamp: 0 };
  for (const head of seen) {
    expect(head.size).toBeGreaterThanOrEqual(last.size);
    expect(head.timestamp).toBeGreaterThanOrEqual(last.timestamp);
    if (head.timestamp > last.timestamp) {
      const root = peaksRoot(appendLeaves(noPeaks, hashes.slice(0, head.size), () => {}));
      expect(base64(head.root)).toBe(base64(root));
    }
    last = head;
  }
}

/** Strikes the active writer down in each way, and waits each time until the other one has taken over. */
async function blows(promised: Promised[], times: string[]): Promise<void> {
  let [active, standby] = writers;
  const signal = (name: NodeJS.Signals) => process.kill(active.process?.pid ?? 0, name);

  async function takeover(how: string, blow: () => unknown): Promise<Writer> {
    await sleep(400 + Math.random() * 400);
    const since = Date.now();
    await blow();
    await untilPromise(standby, promised);
    times.push(`${how} ${Date.now() - since} ms`);
    expect(await isReady(standby)).toBe(true);
    await sleep(300);
    [active, standby] = [standby, active];
    return standby;
  }

  for (let round = 0; round < kills; round += 1) {
    await start(await takeover('kill -9', () => signal('SIGKILL')));
  }
  for (let round = 0; round < pauses; round += 1) {
    const paused = await takeover('pause', () => signal('SIGSTOP'));
    process.kill(paused.process?.pid ?? 0, 'SIGCONT');
    await sleep(500);
    expect(paused.process?.printed()).toMatch(/lost the writer's lease/);
    expect(await isReady(paused)).toBe(false);
    if (round < pauses - 1) {
      await paused.process?.close();
      await start(paused);
    }
  }
  // Without being restarted, the one that was paused is the standby of its successor.
  await takeover('close', () => active.process?.close());
}

test(
  `a standby takes over from a writer that is killed or paused: 0 SCTs lost, 0 forks (${kills} kills, ${pauses} pauses, 1 hand-over)`,
  async () => {
    const promised: Promised[] = [];
    const heads: SignedTreeHead[] = [];
    const times: string[] = [];
    const [first, second] = writers;
    await start(first);
    await untilPromise(first, promised);
    await start(second);
    const load = startClients(promised);
    const monitor = await startMonitor(heads);
    try {
      await blows(promised, times);
    } finally {
      await load.stop();
      await monitor.stop();
    }
    for (const writer of writers) await writer.process?.close();
    const reader = await readObjectStore(s3.s3);
    const log = await checkLog(reader, publicKey, origin);
    reader.close();
    expect(promised.length).toBeGreaterThan(100);
    requireKept(log, promised);
    requireConsistent(log, heads);
    const numbers = `${promised.length} SCTs promised, log size ${log.size}, ${heads.length} tree heads seen`;
    process.stdout.write(`takeover test (lease ${leaseMs} ms): ${times.join(', ')}; ${numbers}\n`);
  },
  (kills + pauses) * 20_000 + 120_000,
);

test('a log in an object store refuses a second database', async () => {
  const { openObjectStorage } = await import('../../src/ctlog/object-storage.js');
  const logger = { info() {}, warn() {}, error() {} };
  const url = new URL(postgres.url);
  url.pathname = '/template1';
  const opened = openObjectStorage({ s3: s3.s3, postgres: url.href, clock: Date.now, logger, waitForLease: false });
  await expect(opened).rejects.toMatchObject({
    code: 'STARTUP',
    message: expect.stringMatching(/^the log in s3:\/\/ctlog\/log is committed in another database/),
  });
});
