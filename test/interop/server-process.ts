import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { cleanEnv } from './command.js';

const readyWithinMs = 30_000;
const stopWithinMs = 15_000;
const fixedPortWithinMs = 60_000;
const pollMs = 50;
const tailChars = 32_000;

/** A server program to start on 127.0.0.1. */
export interface ServerProgram {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Answers 200 once the server takes requests. */
  readonly readyUrl: string;
}

/** A server that runs until `close`. */
export interface RunningServer {
  readonly pid: number;
  /** The last characters of what it has printed so far. */
  printed(): string;
  /** Stops it with SIGTERM, and with SIGKILL if it does not go; throws when SIGKILL was needed. */
  close(): Promise<void>;
}

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('the system gave no port');
  return address.port;
}

/** Waits until nothing listens on a port that a program cannot be told to leave; throws, naming the program, after a minute. */
export async function untilPortFree(port: number, program: string): Promise<void> {
  const deadline = Date.now() + fixedPortWithinMs;
  while (await isTaken(port)) {
    if (Date.now() > deadline) throw new Error(`${program} needs port ${port}, and another program has it`);
    await sleep(pollMs);
  }
}

async function isTaken(port: number): Promise<boolean> {
  const server = createServer().listen(port);
  return new Promise((answer) => {
    server.once('error', () => answer(true));
    server.once('listening', () => server.close(() => answer(false)));
  });
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function isReady(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2_000) })).status === 200;
  } catch {
    return false;
  }
}

async function stop(child: ChildProcess, name: string): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const inTime = await Promise.race([ended.then(() => true), sleep(stopWithinMs, false, { ref: false })]);
  if (inTime) return;
  child.kill('SIGKILL');
  await ended;
  throw new Error(`${name} did not stop within ${stopWithinMs / 1000} s of SIGTERM`);
}

/** Starts a server and waits until it is ready; throws with what it printed when it ends or is not ready in time. */
export async function startServer(program: ServerProgram): Promise<RunningServer> {
  const child = spawn(program.command, program.args, {
    cwd: program.cwd,
    env: { ...cleanEnv(program.cwd), ...program.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-tailChars);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  await once(child, 'spawn');

  const deadline = Date.now() + readyWithinMs;
  while (!(await isReady(program.readyUrl))) {
    const late = Date.now() > deadline;
    if (!late && !hasEnded(child)) {
      await sleep(pollMs);
      continue;
    }
    await stop(child, program.name).catch(() => undefined);
    const what = late ? `was not ready within ${readyWithinMs / 1000} s` : `ended with ${child.exitCode}`;
    throw new Error(`${program.name} ${what} (${program.readyUrl})\n${output}`);
  }
  return { pid: child.pid ?? -1, printed: () => output, close: () => stop(child, program.name) };
}
