import type { Command } from 'commander';
import { findCa, forgetKey } from '../ca/life-cycle.js';
import { updateAuthorities } from '../ca/life-cycle-file.js';
import { removeKeys } from '../ca/life-cycle-keys.js';
import { AppError } from '../errors.js';
import { authoritiesIn, dataDirOf, printCas } from './ca-list.js';
import { declareServeFlags } from './flag-options.js';
import { type CommandIo, processIo } from './request-io.js';

const help = `
Only the private key goes; the certificates stay in the record and in trusted_root.json for ever, because what the CA signed
must stay verifiable. Only a retired CA's key can be deleted. Copies in backups are yours to destroy.
`;

/** `mayfly ca delete`: removes the private key of a retired CA. */
export function registerCaDelete(ca: Command, done: (code: number) => void): void {
  const command = ca.command('delete').description('delete the private key of a retired CA; its certificates stay');
  declareServeFlags(command, ['data-dir']);
  command
    .argument('<name>', 'name of the CA, or the start of its fingerprint')
    .addHelpText('after', help)
    .action(async (name: string) => {
      await deleteCommand(dataDirOf(command), name, processIo());
      done(0);
    });
}

/** Deletes and prints what the CAs are now; throws AppError STARTUP with what is in the way. */
export async function deleteCommand(dataDir: string, name: string, io: Pick<CommandIo, 'out' | 'now'>): Promise<void> {
  const recorded = await authoritiesIn(dataDir);
  const authorities = await updateAuthorities(dataDir, async (before = recorded) => {
    const ca = findCa(before, name);
    const after = forgetKey(before, name, io.now());
    if (ca.keyDirectory === undefined) {
      if (ca.keyDeletedAt !== undefined) return before;
      throw new AppError('STARTUP', `the key of ${ca.name} is not in this data directory; delete it where it is`);
    }
    // The key before the record: an interruption leaves a record of a key that is gone, and this can run again.
    await removeKeys(dataDir, ca.keyDirectory);
    return after;
  });
  printCas(authorities, io);
}
