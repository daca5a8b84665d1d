import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { writeFuzzConfig } from './corpus.js';

/** Where a server under test listens. */
export interface Address {
  readonly port: number;
  readonly grpcPort: number;
}

export interface ServerProcess extends Address {
  /** Memory that no file backs, in MiB; the log's and the index's mapped files do not count. */
  anonymousMiB(): number;
  isRunning(): boolean;
  /** Ends the process, in its own time (SIGTERM) or at once (SIGKILL), and waits for its end. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  close(): Promise<void>;
}

/** The flags of a server that trusts the corpus' issuers, on free ports of loopback. */
export function fuzzFlags(): Record<string, string> {
  const { directory, configPath } = writeFuzzConfig();
  return {
    host: '127.0.0.1',
    port: '0',
    'grpc-host': '127.0.0.1',
    'grpc-port': '0',
    'metrics-port': '0',
    'config-path': configPath,
    'data-dir': join(directory, 'data'),
    'log-level': 'info',
    'public-url': 'http://fuzz.test',
  };
}

/** Starts `mayfly serve` from its sources in a process of its own and waits until it says that it is ready. */
export async function startServerProcess(given = fuzzFlags()): Promise<ServerProcess> {
  const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
  const flags = Object.entries(given).map(([name, value]) => `--${name}=${value}`);
  const args = [
    '--max-semi-space-size=8',
    '--import',
    path('register.mjs'),
    path('../../src/main.ts'),
    'serve',
    ...flags,
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const address = await ready(child);
  const stop = (signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve();
      child.once('exit', () => resolve());
      child.kill(signal);
    });
  return {
    ...address,
    anonymousMiB: () => Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1024,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    stop,
    close: () => stop(),
  };
}

function ready(child: ChildProcess): Promise<Address> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the server ended with ${code} before it was ready`)));
    if (child.stdout === null) throw new Error('the server has no standard output');
    createInterface({ input: child.stdout }).on('line', (line) => {
      const entry = JSON.parse(line) as { msg: string; url: string; grpcPort: number };
      if (entry.msg === 'mayfly is ready') resolve({ port: Number(new URL(entry.url).port), grpcPort: entry.grpcPort });
    });
  });
}
