import type { Command } from 'commander';

type Register = (ca: Command, done: (code: number) => void) => void;

/** In the order in which `mayfly ca --help` lists them: making keys, looking at them, a CA's life. */
const subcommands: readonly Register[] = [];

/** `mayfly ca …`: the keys and certificates of a certificate authority, from ceremony to retirement. */
export function registerCa(program: Command, done: (code: number) => void): void {
  const ca = program.command('ca').description('make, check, rotate and retire the keys of a certificate authority');
  for (const register of subcommands) register(ca, done);
}
