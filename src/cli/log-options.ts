import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { openDataDirectory } from '../ca/data-directory.js';
import { collectFlags } from '../config/flag-sources.js';
import { environmentName, type FlagName } from '../config/flags.js';
import { type LogStorageSettings, serveConfig } from '../config/serve.js';
import { logKeyFiles } from '../ctlog/shards.js';
import { AppError } from '../errors.js';
import { recordedPublicUrl } from '../server/instance.js';
import { flagsGiven } from './flag-options.js';

/** Where a command finds the log of a server that is stopped. */
export interface OfflineOptions {
  readonly dataDir: string;
  readonly ctlogDir?: string | undefined;
  /** Record of the last checkpoint outside the log. */
  readonly ctlogLock?: string | undefined;
  /** The object store that holds the log instead of a directory, with its database. */
  readonly objects?: LogStorageSettings['objects'];
}

/**
 * Reads those of the server's flags that a command declared, from the command line and the server's environment; `more`
 * are flags that the command has under another name.
 */
export function offlineOptions(
  command: Command,
  names: readonly FlagName[],
  environment: Readonly<Record<string, string | undefined>>,
  more: Readonly<Record<string, string>> = {},
): OfflineOptions {
  const known = new Set<string>(names);
  const flags = Object.fromEntries(Object.entries(flagsGiven(command)).filter(([name]) => known.has(name)));
  const variables = names.map(environmentName).map((name) => [name, environment[name]] as const);
  const config = serveConfig(collectFlags({ ...flags, ...more }, Object.fromEntries(variables), undefined));
  const { lock, objects } = config.logStorage;
  const { dataDir, ctlogDir } = config;
  return { dataDir, ctlogDir, ctlogLock: lock, ...(objects === undefined ? {} : { objects }) };
}

/** What commands on a stopped log need of its data directory; makes nothing. Throws AppError STARTUP. */
export async function openOffline({ dataDir, ctlogDir }: OfflineOptions, clock: () => number) {
  if (!existsSync(logKeyFiles(dataDir).current)) {
    throw new AppError('STARTUP', `--data-dir: ${join(dataDir, 'keys')} holds no log key, so there is no log here`);
  }
  const { logKey } = await openDataDirectory(dataDir, { clock });
  return { dataDir, ctlogDir, publicUrl: await recordedPublicUrl(dataDir), logKey };
}
