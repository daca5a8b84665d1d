import type { Command } from 'commander';
import { registerAuditShow } from './audit-show.js';
import { registerAuditVerify } from './audit-verify.js';

/** `mayfly audit …`: reading an audit trail. */
export function registerAudit(program: Command, done: (code: number) => void): void {
  const audit = program.command('audit').description('verify and read the audit trail');
  registerAuditVerify(audit, done);
  registerAuditShow(audit, done);
}
