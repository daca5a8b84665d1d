import { readFileSync } from 'node:fs';
import type { CertificateAuthority } from '../ca/authority.js';
import { loadChain } from '../ca/chain.js';
import type { DataDirectory } from '../ca/data-directory.js';
import { createEphemeralCa } from '../ca/ephemeral.js';
import { openFileSigner } from '../ca/file-signer.js';
import type { CaChoice } from '../config/serve.js';
import { AppError, messageOf } from '../errors.js';

/** Opens the CA that the settings name; throws AppError STARTUP naming the flag and the file that is wrong. */
export async function openCa(
  choice: CaChoice,
  data: DataDirectory,
  clock: () => number,
): Promise<CertificateAuthority> {
  if (choice.kind === 'ephemeral') return createEphemeralCa(clock);
  if (choice.kind === 'file') return openFileCa(choice, clock);
  return data.openCa();
}

function openFileCa(choice: Extract<CaChoice, { kind: 'file' }>, clock: () => number): CertificateAuthority {
  const key = readFlagFile('--fileca-key', choice.keyPath);
  const signer = naming(`--fileca-key ${choice.keyPath}`, () => openFileSigner(key, choice.password));
  const chain = readFlagFile('--fileca-cert', choice.certPath);
  return naming(`--fileca-cert ${choice.certPath}`, () => loadChain(chain, signer, clock()));
}

/** Runs `open` and puts flag and file before what it complains about. */
function naming<T>(where: string, open: () => T): T {
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
