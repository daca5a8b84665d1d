import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's directory. */
export const projectDir = fileURLToPath(new URL('../..', import.meta.url));

/** What a finished command left behind. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where, with what on standard input, and for how long a command runs. */
export interface RunOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  readonly timeoutMs?: number;
}

/** The path of a tool that test/interop/setup.sh installs; throws, naming that script, when it is not there. */
export function toolPath(name: string): string {
  const path = resolve(projectDir, '.cache/interop', name);
  try {
    accessSync(path, constants.X_OK);
  } catch {
    throw new Error(`${path} is not installed; run test/interop/setup.sh first`);
  }
  return path;
}

/**
 * The environment of every client: a home of its own and none of the variables from which clients take ambient
 * tokens (a CI machine has them), so that what a test passes is what the client uses.
 */
export function cleanEnv(homeDir: string): Record<string, string> {
  return { PATH: process.env.PATH ?? '', HOME: homeDir, TMPDIR: homeDir, LC_ALL: 'C.UTF-8' };
}

/** Runs a command to its end, whatever its exit code; a command past its time limit is killed and ends with code -1. */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<Finished> {
  return new Promise((done, failed) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...cleanEnv(options.cwd), ...options.env },
      timeout: options.timeoutMs ?? 60_000,
      killSignal: 'SIGKILL',
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.once('error', failed);
    child.once('close', (code) =>
      done({ code: code ?? -1, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
    child.stdin.on('error', () => undefined); // a command may end without reading its input
    child.stdin.end(options.input ?? '');
  });
}

/** As `run`, and throws with everything the command printed when it does not end with 0. */
export async function mustRun(command: string, args: readonly string[], options: RunOptions): Promise<Finished> {
  const finished = await run(command, args, options);
  if (finished.code !== 0) {
    throw new Error(
      `${command} ${args.join(' ')}\nended with ${finished.code}\n${finished.stdout}\n${finished.stderr}`.trimEnd(),
    );
  }
  return finished;
}
