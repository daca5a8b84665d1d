/**
 * The outside of a command: what it prints to, reads from and calls. Tests bring their own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { types } from 'node:util';

export interface CommandIo {
  /** Results: standard output. Complete lines. */
  readonly out: (text: string) => void;
  /** Progress and errors: standard error. Complete lines. */
  readonly err: (text: string) => void;
  readonly readStdin: () => Promise<string>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly fetch: typeof fetch;
  readonly now: () => Date;
  /** Whether results may carry ANSI colours. */
  readonly colour: boolean;
  /** Whether a person is there to log in. */
  readonly interactive: boolean;
  /** Shows a URL to the user in a browser; false when there is none. */
  readonly openBrowser: (url: string) => Promise<boolean>;
}

/** A command that cannot go on: exit code 1 for a refusal or a failed check, 2 for a wrong call. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: 1 | 2;

  constructor(exitCode: 1 | 2, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
  }
}

/** Why a fetch failed, in words: the error itself only says "fetch failed", its cause says why. */
export function networkReason(error: unknown): string {
  if (!types.isNativeError(error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer in time';
  // A host with several addresses fails with one error for each.
  const cause: unknown = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause;
  return types.isNativeError(cause) && cause.message !== '' ? cause.message : error.message;
}

/** The process's own streams and environment. NO_COLOR (no-color.org) and a pipe turn colours off. */
export function processIo(): CommandIo {
  const noColour = (process.env.NO_COLOR ?? '') !== '' || process.env.TERM === 'dumb';
  return {
    out: (line) => process.stdout.write(line),
    err: (line) => process.stderr.write(line),
    readStdin: () => text(process.stdin),
    env: process.env,
    fetch,
    now: () => new Date(),
    colour: process.stdout.isTTY === true && !noColour,
    interactive: process.stderr.isTTY === true,
    openBrowser,
  };
}

const browserCommands: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  darwin: ['open'],
  // Not `start`, a cmd.exe builtin: cmd.exe would read the & of a query string as its own.
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
};

async function openBrowser(url: string): Promise<boolean> {
  const [command = 'xdg-open', ...args] = browserCommands[process.platform] ?? [];
  const child = spawn(command, [...args, url], { stdio: 'ignore', detached: true });
  try {
    await once(child, 'spawn');
    child.unref();
    return true;
  } catch {
    return false;
  }
}
