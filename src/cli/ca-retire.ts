import type { Command } from 'commander';
import { findCa, retireCa } from '../ca/life-cycle.js';
import { updateAuthorities } from '../ca/life-cycle-file.js';
import { authoritiesIn, dataDirOf, printCas } from './ca-list.js';
import { declareServeFlags } from './flag-options.js';
import { type CommandIo, processIo } from './request-io.js';

const help = `
A former CA leaves the trust bundle and stays in trusted_root.json for ever, with an end: its last issuance plus the lifetime
of one certificate. What was signed before verifies as ever. A next CA is withdrawn; if it never issued, clients hear nothing
more of it. The active CA cannot be retired: promote another one first.

Take your time: until it is retired, a former CA can be promoted again at once.
`;

/** `mayfly ca retire`: ends a CA that issues no longer. */
export function registerCaRetire(ca: Command, done: (code: number) => void): void {
  const command = ca.command('retire').description('end a CA that issues no longer, or withdraw one that never did');
  declareServeFlags(command, ['data-dir']);
  command
    .argument('<name>', 'name of the CA, or the start of its fingerprint')
    .addHelpText('after', help)
    .action(async (name: string) => {
      await retireCommand(dataDirOf(command), name, processIo());
      done(0);
    });
}

/** Retires and prints what the CAs are now; throws AppError STARTUP with what is in the way. */
export async function retireCommand(dataDir: string, name: string, io: Pick<CommandIo, 'out' | 'now'>): Promise<void> {
  const recorded = await authoritiesIn(dataDir);
  findCa(recorded, name);
  printCas(await updateAuthorities(dataDir, (before = recorded) => retireCa(before, name, io.now())), io);
}
