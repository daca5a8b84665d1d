import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CaIo } from '../../src/cli/ca-terminal.js';

export const passphrase = 'six words that nobody would guess';

/** A fresh directory, and a CaIo that records what is printed and has answers to give. */
export interface CaLab {
  readonly io: CaIo;
  /** Standard output and standard error so far. */
  readonly out: () => string;
  readonly err: () => string;
  /** What was asked so far. */
  readonly asked: string[];
  readonly at: (...names: string[]) => string;
  close(): void;
}

export interface CaLabOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** What somebody at the terminal types, line by line; absent: nobody is there. */
  readonly answers?: readonly string[];
  readonly now?: () => Date;
}

/** Makes a lab; call its `close` in the end. */
export function openCaLab(options: CaLabOptions = {}): CaLab {
  const directory = mkdtempSync(join(tmpdir(), 'mayfly-ca-'));
  const printed = { out: '', err: '' };
  const asked: string[] = [];
  const answers = [...(options.answers ?? [])];
  const ask = (question: string, kind: 'plain' | 'secret'): Promise<string> => {
    asked.push(`${kind}: ${question}`);
    const answer = answers.shift();
    return answer === undefined ? Promise.reject(new Error('nobody answers')) : Promise.resolve(answer);
  };
  const io: CaIo = {
    out: (text) => {
      printed.out += text;
    },
    err: (text) => {
      printed.err += text;
    },
    env: options.env ?? { MAYFLY_ROOT_PASSPHRASE: passphrase },
    now: options.now ?? (() => new Date()),
    ...(options.answers === undefined ? {} : { ask }),
  };
  return {
    io,
    out: () => printed.out,
    err: () => printed.err,
    asked,
    at: (...names) => join(directory, ...names),
    close: () => rmSync(directory, { recursive: true }),
  };
}

/** Commands that were broken into lines, as a shell reads them. */
export const oneLine = (text: string): string => text.replaceAll(/ \\\n +/g, ' ');
