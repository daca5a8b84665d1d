import { readPrivateFile } from '../ca/private-file.js';
import { AppError } from '../errors.js';
import type { CaIo } from './ca-terminal.js';

/** Where the passphrase of one key may come from, in this order: file, environment variable, question. */
export interface PassphrasePlace {
  /** "the root key", for questions and messages. */
  readonly what: string;
  /** As in "--root-passphrase-file". */
  readonly flag: string;
  readonly file?: string | undefined;
  /** Name of the environment variable. */
  readonly variable: string;
}

const shortLength = 12;
const attempts = 3;

/** The passphrase for a key that is being made; a question asks twice. Throws AppError STARTUP when there is none. */
export async function newPassphrase(place: PassphrasePlace, io: CaIo): Promise<string> {
  const given = (await givenPassphrase(place, io)) ?? (await askTwice(place, io));
  if (given.length < shortLength) {
    io.err(
      `Warning: the passphrase of ${place.what} has ${given.length} characters. Whoever gets the file can try millions of ` +
        'such passphrases; six random words are out of reach.\n',
    );
  }
  return given;
}

/** The passphrase of a key that exists and is encrypted. Throws AppError STARTUP when there is none. */
export async function knownPassphrase(place: PassphrasePlace, io: CaIo): Promise<string> {
  const given = await givenPassphrase(place, io);
  if (given !== undefined) return given;
  if (io.ask === undefined) throw nobodyToAsk(place);
  return io.ask(`Passphrase of ${place.what}: `, 'secret');
}

/** The passphrase in a file or the environment, if there is one; throws AppError STARTUP for an empty one. */
export async function givenPassphrase(place: PassphrasePlace, io: CaIo): Promise<string | undefined> {
  const { file, flag, variable } = place;
  const text =
    file === undefined ? io.env[variable] : (await readPrivateFile(file, 'passphrase file')).replace(/\r?\n$/, '');
  if (text === undefined) return undefined;
  if (text === '') throw new AppError('STARTUP', `${file === undefined ? variable : `${flag} ${file}`} is empty`);
  if (/[\r\n]/.test(text)) {
    throw new AppError(
      'STARTUP',
      `${file === undefined ? variable : `${flag} ${file}`} has several lines; expected one`,
    );
  }
  return text;
}

async function askTwice(place: PassphrasePlace, io: CaIo): Promise<string> {
  if (io.ask === undefined) throw nobodyToAsk(place);
  for (let attempt = 0; attempt < attempts; attempt++) {
    const first = await io.ask(`New passphrase of ${place.what}: `, 'secret');
    if (first === '') {
      io.err('It is empty. Once more:\n');
      continue;
    }
    if (first === (await io.ask('The same again: ', 'secret'))) return first;
    io.err('The two differ. Once more:\n');
  }
  throw new AppError('STARTUP', `no passphrase for ${place.what} after ${attempts} attempts; nothing was written`);
}

function nobodyToAsk({ what, flag, variable }: PassphrasePlace): AppError {
  return new AppError(
    'STARTUP',
    `${what} needs a passphrase and standard input is no terminal to ask at; give ${flag} FILE or set ${variable}`,
  );
}
