import { AppError } from '../../src/errors.js';
import type { Random } from './random.js';

/** What is fed to one target: text or bytes, so that it can be saved to a file and fed again. */
export type Input = string | Uint8Array;

/** One parser or one way into the server, with the inputs for it. */
export interface Target {
  /** Its part of all inputs, relative to the other targets'. */
  readonly weight: number;
  make(random: Random): Input;
  /**
   * Resolves with whether the input was accepted. Throws Violation, or anything that is not the parser's own error, when
   * the property does not hold.
   */
  run(input: Input): Promise<boolean>;
}

/** A property that did not hold. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Violation(what);
}

export const textOf = (input: Input): string =>
  typeof input === 'string' ? input : Buffer.from(input).toString('utf8');
export const bytesOf = (input: Input): Buffer => (typeof input === 'string' ? Buffer.from(input) : Buffer.from(input));

/** Longer than any message of ours; a parser that quotes its input without a limit shows here. */
const maxMessage = 2_000;

/**
 * Runs a parser that may fail with AppError or with the errors named, and with nothing else. Resolves with what it
 * returned, or undefined when it failed as it may.
 */
export async function mayFail<T>(
  work: () => T | Promise<T>,
  secret: string,
  ...known: readonly (abstract new (
    ...args: never[]
  ) => Error)[]
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AppError) {
      must(error.code !== 'INTERNAL' && error.code !== 'SIGNER_UNAVAILABLE', `AppError ${error.code}: ${error.detail}`);
      // What a start says about the operator's own file is for the operator's terminal and may quote it as it is.
      if (error.code !== 'STARTUP') checkMessage(error.publicMessage, secret);
      return undefined;
    }
    if (!known.some((type) => error instanceof type && error.constructor === type)) throw error;
    checkMessage(error instanceof Error ? error.message : '', secret);
    return undefined;
  }
}

/** Whether text has characters that can forge a log line or move a terminal's cursor. */
export const hasControls = (text: string): boolean => /\p{Cc}/u.test(text.replaceAll(/[\t\n]/g, ''));

/** A message is short, printable, and quotes no long piece of what must stay secret. */
export function checkMessage(message: string, secret: string): void {
  must(message.length <= maxMessage, `a message of ${message.length} characters`);
  must(!hasControls(message), `a control character in ${JSON.stringify(message)}`);
  for (const segment of secret.split('.')) {
    must(segment.length < 40 || !message.includes(segment), `the token in the message ${JSON.stringify(message)}`);
  }
}
