import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** What a load generator saw; latencies in milliseconds. */
export interface LoadResult {
  /** Answers of any status. */
  readonly requests: number;
  readonly seconds: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
  /** Answers that were no certificate. */
  readonly failed: number;
  /** Connections that failed, broke or timed out. */
  readonly broken: number;
}

export interface LoadOptions {
  readonly url: string;
  readonly corpus: string;
  readonly connections: number;
  readonly seconds: number;
  /** Mean pause of each connection before a request, in milliseconds; without it, there is none. */
  readonly pauseMs?: number | undefined;
}

const script = fileURLToPath(new URL('wrk.lua', import.meta.url));

/** Drives an HTTP server with wrk (Debian's package of that name); throws when it is missing or says nothing. */
export async function runWrk({ url, corpus, connections, seconds, pauseMs }: LoadOptions): Promise<LoadResult> {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script, url, '--', corpus];
  if (pauseMs !== undefined) args.push(`${pauseMs}`);
  return JSON.parse(await lastLine('wrk', args)) as LoadResult;
}

/** Runs a program and resolves with the last line it printed; throws, with what it complained about, if it fails. */
export async function lastLine(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let complaint = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  const failure = once(child, 'error').then(([error]: unknown[]) => {
    throw new Error(`${command} cannot be run: ${String(error)}; test/interop/setup.sh wrk installs it`);
  });
  const [code] = (await Promise.race([once(child, 'close'), failure])) as [number | null];
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${complaint || output}`);
  return output.trim().split('\n').at(-1) ?? '';
}
