import type { Command } from 'commander';
import { openBuiltThread } from '../issuance/threads.js';
import { startServer } from '../server/start.js';
import { declareServeFlags, flagsGiven, repeatedFlagsGiven } from './flag-options.js';
import { boundHeapGrowth } from './heap.js';

/** `mayfly serve`: runs the server until SIGTERM or SIGINT, then finishes what is in flight. */
export function registerServe(program: Command, done: (code: number) => void): void {
  const command = program
    .command('serve')
    .description('run the certificate authority and its transparency log')
    .option('-c, --config <file>', 'file with any of the settings below, YAML or JSON');
  declareServeFlags(command);
  command.action(async () => {
    boundHeapGrowth();
    const { config, ...flags } = flagsGiven(command);
    const given = { ...flags, ...repeatedFlagsGiven(command) };
    const server = await startServer(given, {
      environment: process.env,
      configFile: config,
      openThread: openBuiltThread,
    });
    process.on('SIGHUP', () => server.reload('SIGHUP'));
    await stopSignal();
    await server.close();
    done(0);
  });
}

/** Resolves at the first SIGTERM or SIGINT; a second one ends the process at once. */
export function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    const stop = (): void => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.off(signal, stop);
      resolve();
    };
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop);
  });
}
