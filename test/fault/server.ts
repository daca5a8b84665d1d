import { type ChildProcess, spawn } from 'node:child_process';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openCheckpoint, type SignedTreeHead } from '../../src/ctlog/checkpoint.js';
import { freePort } from '../interop/server-process.js';
import { type Answer, post, v2Body, v2Chain } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';

/** Who asks for the certificates. */
export const email = 'jane@example.com';

/** What `npm run build` makes. */
export const builtMain = resolve(import.meta.dirname, '../../dist/main.js');

/** One instance of a built Mayfly on fixed ports, to be started, killed and started again. */
export interface Instance {
  readonly url: string;
  readonly dataDir: string;
  /** Directory of the log. */
  readonly logDir: string;
  readonly origin: string;
  /** A token of the issuer that the instance trusts, good for an hour. */
  token(): Promise<string>;
  /** Starts it; does not wait. */
  spawn(): InstanceProcess;
  /** Starts it and waits until it is ready; throws with what it printed when it ends instead. */
  start(): Promise<InstanceProcess>;
  /** The log's key, once it was started. */
  logKey(): KeyObject;
  /** The published tree head, its signature checked. */
  head(): Promise<SignedTreeHead>;
  /** Ends what still runs; removes all files unless they are to be kept. */
  close(options?: { keep: boolean }): Promise<void>;
}

export interface InstanceProcess {
  readonly pid: number;
  /** Exit code, or the signal that ended it; undefined while it runs. */
  ended(): number | string | undefined;
  /** What it has printed so far. */
  printed(): string;
  /** Ends the process by this signal and waits until it is gone. */
  stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

export interface InstanceOptions {
  /** A built main.js; `npm run build` makes the default. */
  readonly main?: string | undefined;
  /** Where all its files are; a new directory if not given. */
  readonly dir?: string | undefined;
  /** Directory of the log, if not in the data directory. */
  readonly logDir?: string | undefined;
  /** Further flags of `mayfly serve`. */
  readonly flags?: readonly string[] | undefined;
}

const readyWithinMs = 60_000;
const pollMs = 10;

/** Prepares an instance with an issuer of its own. */
export async function createInstance({
  main = builtMain,
  dir = mkdtempSync(join(tmpdir(), 'mayfly-fault-')),
  logDir,
  flags = [],
}: InstanceOptions = {}): Promise<Instance> {
  if (!existsSync(main)) throw new Error(`${main} is missing; run npm run build first`);
  const issuer = await startIssuer({ alg: 'ES256' });
  const ports = [await freePort(), await freePort(), await freePort()];
  const dataDir = join(dir, 'data');
  const args = [main, 'serve', ...flagsOf(dir, issuer, ports), ...flags];
  if (logDir !== undefined) args.push('--ctlog-dir', logDir);
  const url = `http://127.0.0.1:${ports[0]}`;
  const origin = `127.0.0.1:${ports[0]}/ctlog`;
  const logKey = (): KeyObject => createPublicKey(readFileSync(join(dataDir, 'trust', 'ctlog.pub.pem')));
  let running: InstanceProcess | undefined;
  const spawnOne = (): InstanceProcess => {
    running = watched(spawn(process.execPath, args, { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] }));
    return running;
  };
  return {
    url,
    dataDir,
    logDir: logDir ?? join(dataDir, 'ctlog'),
    origin,
    token: () => issuer.token({ email, email_verified: true }),
    spawn: spawnOne,
    start: () => untilReady(spawnOne(), url),
    logKey,
    async head() {
      const response = await fetch(`${url}/ctlog/checkpoint`);
      return openCheckpoint(new Uint8Array(await response.arrayBuffer()), { origin, logKey: logKey() });
    },
    async close({ keep } = { keep: false }) {
      await running?.stop('SIGKILL');
      await issuer.close();
      if (!keep) await rm(dir, { recursive: true, force: true });
    },
  };
}

function flagsOf(dir: string, issuer: TestIssuer, [port, grpcPort, metricsPort]: readonly number[]): string[] {
  mkdirSync(dir, { recursive: true });
  const config = join(dir, 'identity.yaml');
  const issuers = { [issuer.url]: { IssuerURL: issuer.url, ClientID: 'sigstore', Type: 'email' } };
  writeFileSync(config, JSON.stringify({ OIDCIssuers: issuers }));
  const flags = {
    host: '127.0.0.1',
    'grpc-host': '127.0.0.1',
    port,
    'grpc-port': grpcPort,
    'metrics-port': metricsPort,
    'data-dir': join(dir, 'data'),
    'config-path': config,
    'log-level': 'warn',
  };
  return Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
}

function watched(child: ChildProcess): InstanceProcess {
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-16_000);
    });
  }
  const exit = once(child, 'exit');
  const ended = () => child.exitCode ?? child.signalCode ?? undefined;
  return {
    pid: child.pid ?? -1,
    ended,
    printed: () => output,
    async stop(signal) {
      if (ended() === undefined) child.kill(signal);
      await exit;
    },
  };
}

async function untilReady(process: InstanceProcess, url: string): Promise<InstanceProcess> {
  const deadline = Date.now() + readyWithinMs;
  while (!(await isReady(url))) {
    const ended = process.ended();
    if (ended !== undefined) throw new Error(`the server ended with ${ended}:\n${process.printed()}`);
    if (Date.now() > deadline) throw new Error(`the server was not ready in time:\n${process.printed()}`);
    await sleep(pollMs);
  }
  return process;
}

/** Whether /readyz says yes. */
export async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/readyz`);
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    return false;
  }
}

/** One request for a certificate: the answer, and its chain in DER when there is one. */
export async function requestCertificate(
  instance: Instance,
  token: string,
): Promise<{ answer: Answer; certificate: readonly Uint8Array[] | undefined }> {
  const answer = await post(`${instance.url}/api/v2/signingCert`, v2Body(token, email));
  const certificate = answer.status === 200 ? v2Chain(answer).map(({ raw }) => raw) : undefined;
  return { answer, certificate };
}
