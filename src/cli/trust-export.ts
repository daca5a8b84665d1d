import { join } from 'node:path';
import type { Command } from 'commander';
import { collectFlags } from '../config/flag-sources.js';
import type { FlagName } from '../config/flags.js';
import { type ServeConfig, serveConfig } from '../config/serve.js';
import { offlineTrustMaterial } from '../server/offline-trust.js';
import { trustFileNames, writeTrustFiles } from '../trust/write.js';
import { declareServeFlags, flagsGiven, repeatedFlagsGiven } from './flag-options.js';
import { processIo } from './request-io.js';

/** The settings of the server that decide what clients have to trust. */
const flags = [
  'data-dir',
  'ctlog-dir',
  'config-path',
  'trust-config',
  'ct-log-url',
  'ct-log-public-key-path',
  'ct-logs-config',
] as const satisfies readonly FlagName[];

const help = `
The files are those that the server serves under /trust, made from the data directory alone: the server may run or not.
Give the settings as the server has them (flags, FULCIO_SERVE_… variables or the --config file).
`;

/** `mayfly trust export`: the trust files of an instance without its server. */
export function registerTrustExport(trust: Command, done: (code: number) => void): void {
  const command = trust.command('export').description('write the files from which clients trust this instance');
  declareTrustSettings(command);
  command
    .option('--out <dir>', 'where to write them (default: DATA-DIR/trust)')
    .addHelpText('after', help)
    .action(async () => {
      const config = trustSettings(command);
      const io = processIo();
      const material = await offlineTrustMaterial(config, () => io.now().getTime());
      const out = command.opts<{ out?: string }>().out ?? join(config.dataDir, 'trust');
      const changed = await writeTrustFiles(out, material);
      const names = new Set<string>(changed);
      for (const name of Object.values(trustFileNames)) {
        if (names.has(name)) io.out(`${join(out, name)}\n`);
      }
      if (changed.length === 0) io.out(`${out} is up to date\n`);
      done(0);
    });
}

/** Declares the settings that `trustSettings` reads. */
export function declareTrustSettings(command: Command): void {
  command.option('-c, --config <file>', "the server's settings file");
  declareServeFlags(command, flags);
}

/** Those settings, from the command line, the server's environment and its settings file; throws AppError STARTUP. */
export function trustSettings(command: Command): ServeConfig {
  const { config, ...given } = flagsGiven(command);
  const all = { ...given, ...repeatedFlagsGiven(command) };
  const known = new Set<string>(flags);
  const own = Object.fromEntries(Object.entries(all).filter(([name]) => known.has(name)));
  return serveConfig(collectFlags(own, process.env, config));
}
