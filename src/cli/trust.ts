import type { Command } from 'commander';
import { registerTrustBundle } from './trust-bundle.js';
import { registerTrustExport } from './trust-export.js';
import { registerTrustTuf } from './trust-tuf.js';

/** `mayfly trust …`: how clients come to trust this instance. */
export function registerTrust(program: Command, done: (code: number) => void): void {
  const trust = program.command('trust').description('hand clients what they need to trust this instance');
  registerTrustExport(trust, done);
  registerTrustBundle(trust, done);
  registerTrustTuf(trust, done);
}
