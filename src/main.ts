#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { registerCa } from './cli/ca.js';
import { registerCheck } from './cli/check.js';
import { registerLog } from './cli/log.js';
import { registerQuickstart } from './cli/quickstart.js';
import { registerRequest } from './cli/request.js';
import { registerServe } from './cli/serve.js';
import { registerTrust } from './cli/trust.js';
import { AppError, messageOf } from './errors.js';
import { packageVersion } from './version.js';

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
  registerServe(program, done);
  registerQuickstart(program, done);
  registerRequest(program, done);
  registerCheck(program, done);
  registerLog(program, done);
  registerTrust(program, done);
  registerCa(program, done);
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

process.exitCode = await main(process.argv);
