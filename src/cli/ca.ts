import type { Command } from 'commander';
import { registerCaAdd } from './ca-add.js';
import { registerCaCsr } from './ca-csr.js';
import { registerCaDelete } from './ca-delete.js';
import { registerCaInit } from './ca-init.js';
import { registerCaList } from './ca-list.js';
import { registerCaPromote } from './ca-promote.js';
import { registerCaRetire } from './ca-retire.js';
import { registerCaShow } from './ca-show.js';
import { registerCaSign } from './ca-sign.js';
import { registerCaVerify } from './ca-verify.js';

type Register = (ca: Command, done: (code: number) => void) => void;

/** In the order in which `mayfly ca --help` lists them: making keys, looking at them, a CA's life. */
const subcommands: readonly Register[] = [
  registerCaInit,
  registerCaCsr,
  registerCaSign,
  registerCaShow,
  registerCaVerify,
  registerCaAdd,
  registerCaList,
  registerCaPromote,
  registerCaRetire,
  registerCaDelete,
];

/** `mayfly ca …`: the keys and certificates of a certificate authority, from ceremony to retirement. */
export function registerCa(program: Command, done: (code: number) => void): void {
  const ca = program.command('ca').description('make, check, rotate and retire the keys of a certificate authority');
  for (const register of subcommands) register(ca, done);
}
