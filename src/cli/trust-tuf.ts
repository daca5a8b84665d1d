import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { AppError } from '../errors.js';
import { initTuf, type KeyCount, renewTufRoot, rotateTufKey, updateTuf } from '../trust/tuf-ceremony.js';
import { type TufRole, tufRoles } from '../trust/tuf-keys.js';
import { defaultLifetimeDays, type Lifetimes } from '../trust/tuf-metadata.js';
import { publishTuf } from '../trust/tuf-publish.js';
import { readTufTargets } from '../trust/tuf-targets.js';
import { declareServeFlags } from './flag-options.js';
import { offlineOptions } from './log-options.js';
import { processIo } from './request-io.js';
import { askAtTerminal, passphraseFrom } from './trust-passphrase.js';
import { printInit, printPublished, printResult, printRotation } from './trust-tuf-report.js';

const places = `
Files, unless told otherwise:
  DATA-DIR/tuf/          the repository: public, served at /tuf, and any web server can serve it as it is
  DATA-DIR/keys/tuf/     the keys of snapshot and timestamp, with which the server signs by itself
  DATA-DIR/tuf-offline/  the keys of root and targets, encrypted: take them away from the server
The passphrase of the offline keys comes from --passphrase-file, from MAYFLY_TUF_PASSPHRASE or from the terminal.
`;

/** The flags of a command as commander holds them. */
interface Given {
  readonly tufDir?: string;
  readonly keysDir?: string;
  readonly trustDir?: string;
  readonly offlineDir?: readonly string[];
  readonly passphraseFile?: string;
}

/** `mayfly trust tuf …`: the TUF repository from which clients fetch and renew what they trust. */
export function registerTrustTuf(trust: Command, done: (code: number) => void): void {
  const tuf = trust.command('tuf').description('make and keep the TUF repository that clients are initialised from');
  registerInit(tuf, done);
  registerUpdate(tuf, done);
  registerRefresh(tuf, done);
  registerRotateKey(tuf, done);
}

function registerInit(tuf: Command, done: (code: number) => void): void {
  const command = ceremony(
    tuf.command('init'),
    'make the keys and the repository, from the trust files as they are now',
  );
  countOptions(command, 'root');
  countOptions(command, 'targets');
  for (const role of tufRoles) {
    const help = `how long ${role} metadata is good for (default ${defaultLifetimeDays[role]})`;
    command.addOption(new Option(`--${role}-days <days>`, help).argParser(positive));
  }
  command.addHelpText('after', places).action(async () => {
    const flags = command.opts<Given & Record<string, number | undefined>>();
    const options = ceremonyOptions(command);
    const lifetimes: Record<TufRole, number> = { ...defaultLifetimeDays };
    for (const role of tufRoles) lifetimes[role] = flags[`${role}Days`] ?? defaultLifetimeDays[role];
    const { keys } = await initTuf({
      ...options,
      targets: await readTufTargets(options.trustDir, options.now),
      root: countOf(flags, 'root') ?? { keys: 1, threshold: 1 },
      targetsRole: countOf(flags, 'targets') ?? { keys: 1, threshold: 1 },
      lifetimes: lifetimes satisfies Lifetimes,
    });
    printInit(processIo(), options, keys);
    done(0);
  });
}

function registerUpdate(tuf: Command, done: (code: number) => void): void {
  const command = ceremony(tuf.command('update'), 'sign the trust files as they are now, with the offline targets key');
  command
    .option('--force', 'sign although nothing changed, for another lifetime')
    .option('--root', 'sign the root again instead, with the same keys, for another lifetime')
    .addHelpText('after', places)
    .action(async () => {
      const { force = false, root = false } = command.opts<{ force?: boolean; root?: boolean }>();
      const options = ceremonyOptions(command);
      const result = root
        ? await renewTufRoot(options)
        : await updateTuf({ ...options, force, targets: await readTufTargets(options.trustDir, options.now) });
      printResult(processIo(), result);
      done(0);
    });
}

function registerRefresh(tuf: Command, done: (code: number) => void): void {
  const command = tuf.command('refresh');
  command.description('publish what was signed, and sign snapshot and timestamp again when half of their life is over');
  declareServeFlags(command, ['data-dir']);
  directoryOptions(command);
  command
    .addHelpText('after', '\nThe server does this by itself. Without a server, run it every day from cron.\n')
    .action(async () => {
      const { dir, keysDir, now } = ceremonyOptions(command);
      printPublished(processIo(), await publishTuf({ dir, keysDir, now }));
      done(0);
    });
}

function registerRotateKey(tuf: Command, done: (code: number) => void): void {
  const command = ceremony(
    tuf.command('rotate-key'),
    'give a role new keys, by a new root that old and new root keys sign',
  );
  command
    .argument('<role>', tufRoles.join(' | '), roleOf)
    .option('--replace <key-id>', 'give up only this key of the role (the start of its id)')
    .addHelpText('after', places);
  command.addOption(new Option('--keys <n>', 'how many keys the role has from now on').argParser(positive));
  command.addOption(new Option('--threshold <n>', 'how many of them have to sign').argParser(positive));
  command.action(async (role: TufRole) => {
    const { replace, keys, threshold } = command.opts<{ replace?: string; keys?: number; threshold?: number }>();
    if (replace !== undefined && (keys !== undefined || threshold !== undefined)) {
      throw new AppError('STARTUP', '--replace keeps the number of keys: it does not go with --keys and --threshold');
    }
    const count = keys === undefined && threshold === undefined ? undefined : checkCount(role, keys, threshold);
    const options = ceremonyOptions(command);
    const rotation = { ...options, role, ...(replace === undefined ? {} : { replace }), ...(count && { count }) };
    printRotation(processIo(), role, await rotateTufKey(rotation));
    done(0);
  });
}

function ceremony(command: Command, description: string): Command {
  command.description(description);
  declareServeFlags(command, ['data-dir']);
  directoryOptions(command);
  return command
    .option('--trust-dir <dir>', 'the trust files to sign (default: DATA-DIR/trust)')
    .option(
      '--offline-dir <dir>',
      'keys of root and targets; may be repeated, new keys go into the first (default: DATA-DIR/tuf-offline)',
      (dir: string, before: readonly string[] = []) => [...before, dir],
    )
    .option('--passphrase-file <file>', 'passphrase of the offline keys');
}

function directoryOptions(command: Command): void {
  command
    .option('--tuf-dir <dir>', 'the repository (default: DATA-DIR/tuf)')
    .option('--keys-dir <dir>', 'keys of snapshot and timestamp (default: DATA-DIR/keys/tuf)');
}

function ceremonyOptions(command: Command) {
  const given = command.opts<Given>();
  const { dataDir } = offlineOptions(command, ['data-dir'], process.env);
  const io = processIo();
  return {
    dir: given.tufDir ?? join(dataDir, 'tuf'),
    keysDir: given.keysDir ?? join(dataDir, 'keys/tuf'),
    trustDir: given.trustDir ?? join(dataDir, 'trust'),
    offlineDirs: given.offlineDir ?? [join(dataDir, 'tuf-offline')],
    passphrase: passphraseFrom({ file: given.passphraseFile, env: io.env, ask: askAtTerminal() }),
    now: io.now(),
  };
}

function countOptions(command: Command, role: 'root' | 'targets'): void {
  command.addOption(new Option(`--${role}-keys <n>`, `how many ${role} keys to make (default 1)`).argParser(positive));
  const help = `how many ${role} keys have to sign (default: a majority)`;
  command.addOption(new Option(`--${role}-threshold <n>`, help).argParser(positive));
}

function countOf(flags: Record<string, unknown>, role: 'root' | 'targets'): KeyCount | undefined {
  const [keys, threshold] = [flags[`${role}Keys`], flags[`${role}Threshold`]];
  if (keys === undefined && threshold === undefined) return undefined;
  return checkCount(
    role,
    keys === undefined ? undefined : Number(keys),
    threshold === undefined ? undefined : Number(threshold),
  );
}

function checkCount(role: TufRole, keys = 1, threshold = Math.floor(keys / 2) + 1): KeyCount {
  if (threshold <= keys) return { keys, threshold };
  throw new AppError('STARTUP', `${role} would need ${threshold} signatures of ${keys} keys; expected at most ${keys}`);
}

function positive(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('expected a whole number above zero');
}

function roleOf(text: string): TufRole {
  const role = tufRoles.find((name) => name === text);
  if (role !== undefined) return role;
  throw new InvalidArgumentError(`expected one of ${tufRoles.join(', ')}`);
}
