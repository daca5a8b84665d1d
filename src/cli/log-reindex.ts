import type { Command } from 'commander';
import { type Reindexed, reindexLog } from '../ctlog/reindex.js';
import { declareServeFlags } from './flag-options.js';
import { type OfflineOptions, offlineOptions, openOffline } from './log-options.js';
import { createProgress } from './log-progress.js';
import { type CommandIo, processIo } from './request-io.js';

const flags = ['data-dir', 'ctlog-dir'] as const;

const help = `
The index (DATA-DIR/ctlog-index) tells a log which entry it has already and answers lookups by hash. It is a cache of the
tiles: nothing is lost with it, and this command makes it anew, for example after an entry about it in the server's log.
Stop the server first; while one runs, the command refuses. An interrupted run is finished by the next start.
`;

/** `mayfly log reindex`: rebuilds the index from the tiles. */
export function registerLogReindex(log: Command, done: (code: number) => void): void {
  const command = log
    .command('reindex')
    .description("rebuild the log's index from its tiles; the server must be stopped");
  declareServeFlags(command, flags);
  command.addHelpText('after', help).action(async () => {
    await reindexCommand(offlineOptions(command, flags, process.env), processIo());
    done(0);
  });
}

/** Rebuilds and prints; throws AppError STARTUP when there is no log or somebody uses it. */
export async function reindexCommand(
  options: OfflineOptions,
  io: Pick<CommandIo, 'out' | 'err' | 'now' | 'interactive'>,
): Promise<void> {
  const clock = (): number => io.now().getTime();
  const start = clock();
  const progress = createProgress('reading entries', { err: io.err, interactive: io.interactive, clock });
  let result: Reindexed;
  try {
    result = await reindexLog({ ...(await openOffline(options, clock)), clock, progress: progress.update });
  } finally {
    progress.end();
  }
  const seconds = ((clock() - start) / 1000).toFixed(1);
  io.out(`${result.directory}: index of ${result.entries} entries rebuilt in ${seconds} s\n`);
}
