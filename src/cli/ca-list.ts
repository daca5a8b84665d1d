import type { Command } from 'commander';
import { readFormat, upgrades } from '../ca/data-format.js';
import { type Authorities, type CaRecord, endOf, isPublished } from '../ca/life-cycle.js';
import { authoritiesFile, readAuthorities } from '../ca/life-cycle-file.js';
import { readPublicChain } from '../ca/life-cycle-keys.js';
import { AppError } from '../errors.js';
import { declareServeFlags } from './flag-options.js';
import { offlineOptions } from './log-options.js';
import { type CommandIo, processIo } from './request-io.js';

const help = `
States: next (published, issues nothing yet), active (issues), former (issues no longer, published as before), retired (out
of the trust bundle; stays in trusted_root.json with an end). See docs/keys.md for how long to wait between the steps.
`;

/** `mayfly ca list`: every CA that a data directory ever had. */
export function registerCaList(ca: Command, done: (code: number) => void): void {
  const command = ca.command('list').description('list the CAs of a data directory with their states');
  declareServeFlags(command, ['data-dir']);
  command
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async () => {
      const io = processIo();
      const authorities = await authoritiesIn(dataDirOf(command));
      io.out(command.opts().json === true ? `${JSON.stringify(toJson(authorities), null, 2)}\n` : table(authorities));
      done(0);
    });
}

/** The data directory that a command line or the server's environment names. */
export function dataDirOf(command: Command): string {
  return offlineOptions(command, ['data-dir'], process.env).dataDir;
}

/** The record of a data directory, brought up to date; throws AppError STARTUP when it never had a CA. */
export async function authoritiesIn(dataDir: string): Promise<Authorities> {
  await readFormat(dataDir, upgrades);
  const authorities = await readAuthorities(dataDir);
  if (authorities !== undefined) return authorities;
  throw new AppError('STARTUP', `--data-dir: ${dataDir} holds no CA: there is no ${authoritiesFile} in it`);
}

/** Prints what the CAs are now, after a command that changed them. */
export function printCas(authorities: Authorities, io: Pick<CommandIo, 'out'>): void {
  io.out(table(authorities));
}

const headings = ['NAME', 'STATE', 'KEY', 'VALID UNTIL', 'TRUSTED UNTIL'];

function table(authorities: Authorities): string {
  const rows = [headings, ...authorities.cas.map(rowOf)];
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const { promotion } = authorities;
  if (promotion !== undefined) lines.push(`${promotion.name} becomes active at ${promotion.at.toISOString()}`);
  return `${lines.join('\n')}\n`;
}

function rowOf(ca: CaRecord): string[] {
  const { notAfter } = readPublicChain(ca.chain, ca.name);
  const trustedUntil = isPublished(ca) ? endOf(ca) : ca.addedAt;
  return [
    ca.name,
    ca.state,
    keyPlace(ca),
    notAfter.toISOString(),
    isPublished(ca) ? (trustedUntil?.toISOString() ?? '') : 'never issued',
  ];
}

function keyPlace({ keyDirectory, keyDeletedAt }: CaRecord): string {
  return keyDirectory ?? (keyDeletedAt === undefined ? 'elsewhere' : 'deleted');
}

function toJson({ cas, promotion }: Authorities): object {
  return {
    cas: cas.map((ca) => {
      const { notBefore, notAfter } = readPublicChain(ca.chain, ca.name);
      return { ...ca, notBefore, notAfter, trustedUntil: endOf(ca) };
    }),
    promotion,
  };
}
