import type { Command } from 'commander';
import { rotateLog } from '../ctlog/rotate.js';
import { openLogStorage } from '../server/log-storage.js';
import { declareServeFlags } from './flag-options.js';
import { type OfflineOptions, offlineOptions, openOffline } from './log-options.js';
import { type CommandIo, processIo } from './request-io.js';

const flags = ['data-dir', 'ctlog-dir', 'ctlog-lock'] as const;

const help = `
Stop the server, run this, start the server. The log in use is frozen: its tree head is signed a last time, its private
key is destroyed, and it is served read-only for ever, under the URL and origin it always had. The next log gets a new
key, the next number (PUBLIC-URL/ctlog2, then ctlog3 …) and a directory of its own beside the first. New certificates
carry SCTs of the new log. The trust files that the next start writes list every log, the frozen ones with the time of
their last SCT as end, so old certificates stay valid: hand the new trusted_root.json out before clients meet a new one.

Give --ctlog-lock as the server has it. A log in an object store cannot be rotated by this command.
There is no way back, and none is needed: a frozen log keeps its proofs.
`;

/** `mayfly log rotate`: freezes the log and opens the next. */
export function registerLogRotate(log: Command, done: (code: number) => void): void {
  const command = log
    .command('rotate')
    .description('freeze the log for ever and open the next one with a new key; the server must be stopped');
  declareServeFlags(command, flags);
  command.addHelpText('after', help).action(async () => {
    await rotateCommand(offlineOptions(command, flags, process.env), processIo());
    done(0);
  });
}

/** Rotates and prints what there is now; throws AppError STARTUP when there is no log or somebody uses it. */
export async function rotateCommand(
  options: OfflineOptions,
  io: Pick<CommandIo, 'out' | 'err' | 'now'>,
): Promise<void> {
  const clock = (): number => io.now().getTime();
  const say = (_context: unknown, message?: unknown): void => io.err(`${String(message ?? '')}\n`);
  const logger = { info: () => {}, warn: say, error: say };
  const { ctlogLock: lock } = options;
  const { frozen, opened } = await rotateLog({
    ...(await openOffline(options, clock)),
    clock,
    logger,
    // That there is no record is said at every start, and no news to somebody who rotates.
    openStorage: async ({ directory, origin, number }, key) => {
      const said = lock === undefined ? { ...logger, warn: () => {} } : logger;
      const deps = { directory, origin, number, key, clock, logger: said };
      return (await openLogStorage(lock === undefined ? {} : { lock }, deps)).storage;
    },
  });
  const lastSct = frozen.lastSct === undefined ? 'none' : new Date(frozen.lastSct).toISOString();
  io.out(
    `frozen  ${frozen.place.url}\n` +
      `  directory  ${frozen.place.directory}\n` +
      `  entries    ${frozen.size}\n` +
      `  root hash  ${Buffer.from(frozen.root).toString('hex')}\n` +
      `  last SCT   ${lastSct}\n` +
      `opened  ${opened.place.url}\n` +
      `  directory  ${opened.place.directory}\n` +
      'Start the server now: it writes the trust files, which list both logs.\n',
  );
}
