import { relative } from 'node:path';
import type { Command } from 'commander';
import { startServer } from '../server/start.js';
import { type QuickstartDeps, type QuickstartOptions, quickstartCommand, tokenCommand } from './quickstart-run.js';
import { defaultDataDir } from './quickstart-state.js';
import { processIo } from './request-io.js';
import { stopSignal } from './serve.js';

/** `mayfly quickstart` and `mayfly quickstart token`. */
export function registerQuickstart(program: Command, done: (code: number) => void): void {
  const quickstart = program
    .command('quickstart')
    .description('run a demo instance with its own identity provider, and get a first certificate from it')
    .option('--data-dir <dir>', 'directory of the demo: keys, log, trust files, provider', defaultDataDir)
    .option('--once', 'end after the first certificate instead of serving on')
    .option('--port <port>', 'HTTP port at the first start (default: 8080, or a free one)')
    .option('--grpc-port <port>', 'gRPC port (default: 8081, or a free one)')
    .option('--metrics-port <port>', 'metrics port (default: 2112, or a free one)')
    .option('--oidc-port <port>', 'port of the demo identity provider (default: 8090, or a free one)')
    .action(async (options: QuickstartOptions) => {
      const deps: QuickstartDeps = {
        // A demo shows the same on every machine: the environment's FULCIO_SERVE_* are for the real server.
        startServer: (flags) => startServer(flags, { environment: {} }),
        untilStopped: stopSignal,
        program: programName(process.argv[1] ?? ''),
      };
      done(await quickstartCommand(options, processIo(), deps));
    });
  quickstart
    .command('token')
    .description('print a new identity token of the demo person, from the quickstart that is running')
    .option('--data-dir <dir>', 'directory of the demo', defaultDataDir)
    // commander gives an option that both commands know to the parent; globals are where the two meet.
    .action(async (_options: unknown, command: Command) => {
      done(await tokenCommand(command.optsWithGlobals<Pick<QuickstartOptions, 'dataDir'>>().dataDir, processIo()));
    });
}

/** How a user calls this program again from here; an installed command has no need of npx, which might look elsewhere. */
function programName(script: string): string {
  if (script.endsWith('.js')) return `node ${relative(process.cwd(), script)}`;
  return process.env.npm_command === 'exec' ? 'npx mayfly' : 'mayfly';
}
