import { join } from 'node:path';
import { type Authorities, activeOf, adoptCa, noAuthorities } from './life-cycle.js';
import { updateAuthorities } from './life-cycle-file.js';
import { defaultName, readChainFile, readPublicChain } from './life-cycle-keys.js';

/** Where the first CA of a data directory has its keys; later ones have directories of their own beside it. */
export const firstKeys = 'keys/ca';

/**
 * Records the CA in keys/ca as the active one, from the first day of its certificates on; what is recorded already stays.
 * May run again after an interruption. Throws AppError STARTUP.
 */
export function recordFirstCa(directory: string): Promise<Authorities> {
  return updateAuthorities(directory, async (before = noAuthorities) => {
    if (activeOf(before)?.keyDirectory !== undefined) return before;
    const path = join(directory, firstKeys, 'chain.pem');
    const chain = await readChainFile(path, join(directory, firstKeys, 'key.pem'));
    const { fingerprint, notBefore } = readPublicChain(chain, path);
    return adoptCa(before, { name: defaultName(fingerprint), fingerprint, chain, keyDirectory: firstKeys }, notBefore);
  });
}
