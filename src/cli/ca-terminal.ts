import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { AppError } from '../errors.js';
import { type CommandIo, processIo } from './request-io.js';

/** The outside of a ceremony: as every command's, and somebody at the keyboard, perhaps. */
export interface CaIo extends Pick<CommandIo, 'out' | 'err' | 'env' | 'now'> {
  /** Asks and gives the line that was typed; `secret` shows nothing of it. Absent when standard input is no terminal. */
  readonly ask?: ((question: string, kind: 'plain' | 'secret') => Promise<string>) | undefined;
}

/** The process's own streams, environment and terminal. */
export function terminalIo(): CaIo {
  return { ...processIo(), ask: process.stdin.isTTY === true ? askOnTerminal : undefined };
}

async function askOnTerminal(question: string, kind: 'plain' | 'secret'): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, callback) => callback() });
  const lines = createInterface({
    input: process.stdin,
    output: kind === 'secret' ? silent : process.stderr,
    terminal: true,
  });
  // After the terminal stopped to echo, and on standard error: what a command prints may be on its way into a file.
  if (kind === 'secret') process.stderr.write(question);
  else {
    lines.setPrompt(question);
    lines.prompt();
  }
  try {
    const cancelled = once(lines, 'SIGINT').then(() => {
      throw new AppError('STARTUP', 'interrupted; nothing was written');
    });
    const closed = once(lines, 'close').then(() => {
      throw new AppError('STARTUP', 'standard input ended before an answer came; nothing was written');
    });
    const answered = once(lines, 'line').then(([line]: unknown[]) => String(line));
    return await Promise.race([answered, cancelled, closed]);
  } finally {
    lines.close();
    if (kind === 'secret') process.stderr.write('\n');
  }
}
