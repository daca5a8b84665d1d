#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { AppError, messageOf } from './errors.js';
import { packageVersion } from './version.js';

type Register = (program: Command, done: (code: number) => void) => void;

/** Each command with what loads it, in the order of the help. */
const commands = new Map<string, () => Promise<Register>>(
  Object.entries({
    serve: async () => (await import('./cli/serve.js')).registerServe,
    quickstart: async () => (await import('./cli/quickstart.js')).registerQuickstart,
    request: async () => (await import('./cli/request.js')).registerRequest,
    check: async () => (await import('./cli/check.js')).registerCheck,
    policy: async () => (await import('./cli/policy.js')).registerPolicy,
    log: async () => (await import('./cli/log.js')).registerLog,
    monitor: async () => (await import('./cli/monitor.js')).registerMonitor,
    trust: async () => (await import('./cli/trust.js')).registerTrust,
    ca: async () => (await import('./cli/ca.js')).registerCa,
    audit: async () => (await import('./cli/audit.js')).registerAudit,
  }),
);

/** The command that is asked for, alone: loading them all would take most of the time that a server needs to start. */
async function registrations(argv: readonly string[]): Promise<readonly Register[]> {
  const asked = commands.get(argv[2] ?? '');
  return Promise.all((asked === undefined ? [...commands.values()] : [asked]).map((load) => load()));
}

/** argv → command. Returns the exit code; only the lines below it end the process. */
async function main(argv: readonly string[]): Promise<number> {
  let code = 0;
  const program = new Command('mayfly')
    .description('A private Sigstore certificate authority that starts with one command.')
    .version(packageVersion())
    .exitOverride();
  const done = (result: number): void => {
    code = result;
  };
  for (const register of await registrations(argv)) register(program, done);
  try {
    await program.parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 1;
    process.stderr.write(`mayfly: ${operatorMessage(error)}\n`);
    return 1;
  }
  return code;
}

/** One line for the operator; a stack only for what we did not foresee, and then on request. */
function operatorMessage(error: unknown): string {
  if (error instanceof AppError) return error.detail;
  if (process.env.MAYFLY_DEBUG !== undefined && error instanceof Error) return error.stack ?? error.message;
  return `unexpected error: ${messageOf(error)} (set MAYFLY_DEBUG=1 for the stack)`;
}

// Who reads the output through `head` has seen enough; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});
process.exitCode = await main(process.argv);
