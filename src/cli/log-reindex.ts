import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { openDataDirectory } from '../ca/data-directory.js';
import { type Reindexed, reindexLog } from '../ctlog/reindex.js';
import { logKeyFiles } from '../ctlog/shards.js';
import { AppError } from '../errors.js';
import { recordedPublicUrl } from '../server/instance.js';
import { createProgress } from './log-progress.js';
import { type CommandIo, processIo } from './request-io.js';

export interface OfflineOptions {
  readonly dataDir: string;
  readonly ctlogDir?: string;
}

const help = `
The index (DATA-DIR/ctlog-index) tells a log which entry it has already and answers lookups by hash. It is a cache of the
tiles: nothing is lost with it, and this command makes it anew, for example after an entry about it in the server's log.
Stop the server first; while one runs, the command refuses. An interrupted run is finished by the next start.
`;

/** `mayfly log reindex`: rebuilds the index from the tiles. */
export function registerLogReindex(log: Command, done: (code: number) => void): void {
  log
    .command('reindex')
    .description("rebuild the log's index from its tiles; the server must be stopped")
    .option('--data-dir <dir>', 'directory of keys, log and trust files', './data')
    .option('--ctlog-dir <dir>', 'directory of the log, if not DATA-DIR/ctlog')
    .addHelpText('after', help)
    .action(async (options: OfflineOptions) => {
      await reindexCommand(options, processIo());
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

/** What commands on a stopped log need of its data directory; makes nothing. Throws AppError STARTUP. */
export async function openOffline({ dataDir, ctlogDir }: OfflineOptions, clock: () => number) {
  if (!existsSync(logKeyFiles(dataDir).current)) {
    throw new AppError('STARTUP', `--data-dir: ${join(dataDir, 'keys')} holds no log key, so there is no log here`);
  }
  const { logKey } = await openDataDirectory(dataDir, { clock });
  return { dataDir, ctlogDir, publicUrl: await recordedPublicUrl(dataDir), logKey };
}
