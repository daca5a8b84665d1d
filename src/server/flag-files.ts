import { readFileSync } from 'node:fs';
import type { CertificateAuthority } from '../ca/authority.js';
import { loadChain } from '../ca/chain.js';
import type { Signer } from '../ca/signer.js';
import { AppError, messageOf } from '../errors.js';

/** A file and the flag that names it. */
export interface FlagFile {
  readonly flag: string;
  readonly path: string;
}

/** The CA of `signer` with the PEM chain in a file; throws AppError STARTUP that begins with flag and file. */
export function loadChainFile(file: FlagFile, signer: Signer, clock: () => number): CertificateAuthority {
  const chain = readFlagFile(file.flag, file.path);
  return naming(`${file.flag} ${file.path}`, () => loadChain(chain, signer, clock()));
}

/** Runs `open` and puts flag and file before what it complains about. */
export function naming<T>(where: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new AppError('STARTUP', `${where}: ${error.detail}`, { cause: error });
  }
}

/** The text of a file a flag names; throws AppError STARTUP with both names. */
export function readFlagFile(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new AppError('STARTUP', `${flag}: cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}
