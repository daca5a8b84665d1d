import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { AppError, messageOf } from '../errors.js';
import type { Passphrase } from '../trust/tuf-keys.js';

/** Where the passphrase of offline keys may come from, when no file is named. */
export const passphraseVariable = 'MAYFLY_TUF_PASSPHRASE';

export interface PassphraseSource {
  /** --passphrase-file: the first line counts. */
  readonly file?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Asks a person; undefined where nobody is. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
}

/**
 * The passphrase of the offline keys: from a file, else from the environment, else from the person at the terminal, who
 * is asked once for each file, and twice for new ones. Throws AppError STARTUP when there is none, never quoting one.
 */
export function passphraseFrom(source: PassphraseSource): Passphrase {
  const answers = new Map<string, Promise<string>>();
  return (path, isNew) => {
    const answer = answers.get(path) ?? read(source, path, isNew);
    answers.set(path, answer);
    return answer;
  };
}

async function read({ file, env, ask }: PassphraseSource, path: string, isNew: boolean): Promise<string> {
  if (file !== undefined) return checked(await firstLine(file), `--passphrase-file ${file}`);
  const value = env[passphraseVariable];
  if (value !== undefined) return checked(value, passphraseVariable);
  if (ask === undefined) {
    throw new AppError(
      'STARTUP',
      `${path} needs a passphrase, and there is no terminal to ask for it; give --passphrase-file or ${passphraseVariable}`,
    );
  }
  const answer = checked(await ask(`Passphrase for ${path}: `), 'the passphrase');
  if (isNew && (await ask('The same again: ')) !== answer) {
    throw new AppError('STARTUP', 'the two passphrases differ; nothing was written');
  }
  return answer;
}

function checked(passphrase: string, source: string): string {
  if (passphrase !== '') return passphrase;
  throw new AppError('STARTUP', `${source} is empty; an offline key has to have a passphrase`);
}

async function firstLine(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).split(/\r?\n/, 1)[0] ?? '';
  } catch (cause) {
    throw new AppError('STARTUP', `--passphrase-file: cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
}

/** Asks at the terminal without showing what is typed; undefined when standard input is none. */
export function askAtTerminal(): ((question: string) => Promise<string>) | undefined {
  if (process.stdin.isTTY !== true) return undefined;
  return async (question) => {
    process.stderr.write(question);
    const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
    const lines = createInterface({ input: process.stdin, output: silent, terminal: true });
    try {
      return await new Promise<string>((answer, refuse) => {
        lines.once('line', answer);
        const stopped = (): void => refuse(new AppError('STARTUP', 'no passphrase was given; nothing was written'));
        lines.once('SIGINT', stopped);
        lines.once('close', stopped);
      });
    } finally {
      lines.close();
      process.stderr.write('\n');
    }
  };
}
