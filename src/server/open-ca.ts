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
  data: DataDirectory | undefined,
  clock: () => number,
): Promise<CertificateAuthority> {
  if (choice.kind === 'ephemeral') return createEphemeralCa(clock);
  if (choice.kind === 'file') {
    const signer = openFileSigner(readFlagFile('--fileca-key', choice.keyPath), choice.password);
    return (
      loadChain(readFlagFile('--fileca-cert', choice.certPath), signer, clock())
    );
  }
  if (data === undefined) throw new AppError('STARTUP', 'the data directory holds the CA, but it was not opened');
  return data.ca;
}

/** The text of a file a flag names; throws AppError STARTUP with both names. */
export function readFlagFile(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new AppError('STARTUP', `${flag}: cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}
