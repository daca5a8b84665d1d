import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { CaFiles } from '../../test/interop/openssl-ca.js';
import { closeServer, listenLocal } from './servers.js';

/** A certificate authority under load. */
export interface Target {
  readonly pid: number;
  readonly url: string;
  readonly grpcAddress: string;
  /** The metrics without labels, by name, as they are now; some gauges start anew whenever they are read. */
  metrics(): Promise<ReadonlyMap<string, number>>;
  close(): Promise<void>;
}

export interface TargetOptions {
  /** A directory of its own, empty at the first start. */
  readonly directory: string;
  readonly ca: CaFiles;
  readonly issuerUrl: string;
}

export interface MayflyOptions extends TargetOptions {
  /** The program, such as dist/main.js. */
  readonly main: string;
  /** The Node that runs it. */
  readonly node: string;
  readonly flags: readonly string[];
  /** Whether the server at this URL has started, asked until it has; /readyz says it unless told. */
  readonly isUp?: (url: string) => Promise<boolean>;
}

/** Starts `mayfly serve` with the embedded log, on the data directory below `directory` if it is there already. */
export async function startMayfly(options: MayflyOptions): Promise<Target> {
  const { directory, ca, node, main, flags, isUp } = options;
  const ports = await freePorts();
  const args = [
    ...[main, 'serve', '--data-dir', join(directory, 'data'), '--config-path', writeConfig(options)],
    ...caFlags(ca),
    ...serverFlags(ports),
    ...flags,
  ];
  return start(node, args, directory, ports, isUp ?? ((url) => answers(`${url}/readyz`)));
}

/** Starts Fulcio without a log, or with the RFC 6962 log of `ctLogUrl`. */
export async function startFulcio(
  options: TargetOptions & { readonly program: string; readonly ctLogUrl?: string | undefined },
): Promise<Target> {
  const { directory, ca, program, ctLogUrl } = options;
  const ports = await freePorts();
  const args = [
    ...['serve', '--config-path', writeConfig(options), '--ct-log-url', ctLogUrl ?? '', '--log_type', 'prod'],
    ...caFlags(ca),
    ...['--legacy-unix-domain-socket', `@mayfly-bench-${ports.http}`],
    ...serverFlags(ports),
  ];
  return start(program, args, directory, ports, (url) => answers(`${url}/healthz`));
}

/** Starts the program of floor-server.ts in so many processes. */
export async function startFloor(
  options: TargetOptions & { readonly node: string; readonly processes: number },
): Promise<Target> {
  const { directory, node, processes, issuerUrl } = options;
  mkdirSync(directory, { recursive: true });
  const ports = await freePorts();
  const args = ['--import', './test/fuzz/register.mjs', floorServer, `${ports.http}`, `${processes}`, issuerUrl];
  return start(node, args, directory, ports, answers);
}

const floorServer = fileURLToPath(new URL('floor-server.ts', import.meta.url));

function caFlags({ keyPath, chainPath, password }: CaFiles): string[] {
  return [
    ...['--ca', 'fileca', '--fileca-key', keyPath, '--fileca-cert', chainPath],
    ...['--fileca-key-passwd', password],
  ];
}

interface Ports {
  readonly http: number;
  readonly grpc: number;
  readonly metrics: number;
}

function serverFlags({ http, grpc, metrics }: Ports): string[] {
  const hosts = ['--host', '127.0.0.1', '--grpc-host', '127.0.0.1'];
  return [...hosts, '--port', `${http}`, '--grpc-port', `${grpc}`, '--metrics-port', `${metrics}`];
}

function writeConfig({ directory, issuerUrl }: TargetOptions): string {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, 'identity.yaml');
  writeFileSync(
    path,
    `oidc-issuers:\n  ${issuerUrl}:\n    issuer-url: ${issuerUrl}\n    client-id: sigstore\n    type: email\n`,
  );
  return path;
}

const readyWithinMs = 30_000;

async function start(
  command: string,
  args: readonly string[],
  directory: string,
  ports: Ports,
  isUp: (url: string) => Promise<boolean>,
): Promise<Target> {
  const logPath = join(directory, 'server.log');
  const log = openSync(logPath, 'w');
  const child = spawn(command, args, { stdio: ['ignore', log, log], env: { ...process.env, NODE_ENV: 'production' } });
  closeSync(log);
  const url = `http://127.0.0.1:${ports.http}`;
  const deadline = Date.now() + readyWithinMs;
  try {
    while (!(await isUp(url))) {
      if (child.exitCode !== null || Date.now() > deadline) {
        throw new Error(`${command} did not start: ${readFileSync(logPath, 'utf8').slice(-2000)}`);
      }
      await sleep(20);
    }
  } catch (error) {
    await stop(child);
    throw error;
  }
  return {
    pid: child.pid ?? -1,
    url,
    grpcAddress: `127.0.0.1:${ports.grpc}`,
    metrics: () => readMetrics(`http://127.0.0.1:${ports.metrics}/metrics`),
    close: () => stop(child),
  };
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(1000) })).status === 200;
  } catch {
    return false;
  }
}

async function readMetrics(url: string): Promise<Map<string, number>> {
  const text = await (await fetch(url)).text();
  const lines = text.split('\n').map((line) => /^(\w+) (\S+)/.exec(line));
  return new Map(lines.flatMap((line) => (line?.[1] === undefined ? [] : [[line[1], Number(line[2])] as const])));
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await ended;
  clearTimeout(killer);
}

async function freePorts(): Promise<Ports> {
  const servers = [createServer(), createServer(), createServer()];
  const [http = 0, grpc = 0, metrics = 0] = await Promise.all(servers.map(listenLocal));
  await Promise.all(servers.map(closeServer));
  return { http, grpc, metrics };
}
