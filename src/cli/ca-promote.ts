import type { Command } from 'commander';
import { cancelPromotion, checkPromotable, findCa, promoteCa, schedulePromotion } from '../ca/life-cycle.js';
import { updateAuthorities } from '../ca/life-cycle-file.js';
import { openKeyedCa } from '../ca/life-cycle-keys.js';
import { AppError } from '../errors.js';
import { authoritiesIn, dataDirOf, printCas } from './ca-list.js';
import { declareServeFlags } from './flag-options.js';
import { type CommandIo, processIo } from './request-io.js';

const help = `
The CA must be published: clients refuse certificates of one they have not heard of. Its key is tried out first. The CA that
was active becomes former: it stays published, so that promoting it again is the way back.

A running server notices by itself, within seconds, and finishes what it began with the former CA. With --at it makes the
promotion when the time has come; one that is not running then makes it when it starts.
`;

export interface PromoteOptions {
  readonly dataDir: string;
  readonly name?: string | undefined;
  /** A date and time with its zone (ISO 8601). */
  readonly at?: string | undefined;
  readonly cancel?: boolean | undefined;
}

/** `mayfly ca promote`: makes a published CA the one that issues, now or at a date. */
export function registerCaPromote(ca: Command, done: (code: number) => void): void {
  const command = ca.command('promote').description('make a published CA the one that issues, now or at a date');
  declareServeFlags(command, ['data-dir']);
  command
    .argument('[name]', 'name of the CA, or the start of its fingerprint')
    .option('--at <time>', 'when, such as 2026-12-01T00:00Z')
    .option('--cancel', 'forget the promotion that is due')
    .addHelpText('after', help)
    .action(async (name: string | undefined) => {
      await promoteCommand({ ...command.opts(), dataDir: dataDirOf(command), name }, processIo());
      done(0);
    });
}

/** Promotes and prints what the CAs are now; throws AppError STARTUP with what is in the way. */
export async function promoteCommand(
  { dataDir, name, at, cancel }: PromoteOptions,
  io: Pick<CommandIo, 'out' | 'err' | 'now'>,
): Promise<void> {
  const recorded = await authoritiesIn(dataDir);
  if (cancel === true) {
    if (name !== undefined || at !== undefined) throw wrong('--cancel goes alone');
    printCas(await updateAuthorities(dataDir, (before = recorded) => cancelPromotion(before)), io);
    return;
  }
  if (name === undefined)
    throw wrong(`name the CA to promote; there are: ${recorded.cas.map((ca) => ca.name).join(', ')}`);
  const now = io.now();
  const date = at === undefined ? undefined : parseTime(at, now);
  const ca = checkPromotable(recorded, name);
  if (ca.keyDirectory !== undefined) {
    const opened = await openKeyedCa(dataDir, ca.keyDirectory, (date ?? now).getTime());
    await opened.signer.close();
  }
  const authorities = await updateAuthorities(dataDir, (before = recorded) =>
    date === undefined ? promoteCa(before, name, now) : schedulePromotion(before, name, date),
  );
  printCas(authorities, io);
  warnOfHaste(findCa(authorities, name).addedAt, date ?? now, io);
}

/** What docs/keys.md says is enough for every client that gets its trusted root by TUF. */
const waitMs = 8 * 24 * 60 * 60 * 1000;

function warnOfHaste(publishedAt: Date, at: Date, io: Pick<CommandIo, 'err'>): void {
  if (at.getTime() - publishedAt.getTime() >= waitMs) return;
  io.err(
    `Note: this CA was published at ${publishedAt.toISOString()}, less than eight days before. A client with an older copy ` +
      'of the trusted root refuses its certificates until it fetches a new one (docs/keys.md, "how long to wait").\n',
  );
}

function parseTime(text: string, now: Date): Date {
  const isWhole = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/.test(text);
  const time = new Date(isWhole ? text : Number.NaN);
  if (Number.isNaN(time.getTime()))
    throw wrong(`--at is "${text}"; expected a time with its zone, such as 2026-12-01T00:00Z`);
  if (time <= now) throw wrong(`--at is ${time.toISOString()}, which has passed; leave it out to promote now`);
  return time;
}

function wrong(detail: string): AppError {
  return new AppError('STARTUP', detail);
}
