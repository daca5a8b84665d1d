import type { Command } from 'commander';
import { registerLogCopy } from './log-copy.js';
import { registerLogFsck } from './log-fsck.js';
import { registerLogReindex } from './log-reindex.js';
import { registerLogRotate } from './log-rotate.js';
import { registerLogServe } from './log-serve.js';

/** `mayfly log …`: running a transparency log by itself, and looking after one. */
export function registerLog(program: Command, done: (code: number) => void): void {
  const log = program.command('log').description('run, check, repair, rotate and move the transparency log');
  registerLogServe(log, done);
  registerLogFsck(log, done);
  registerLogReindex(log, done);
  registerLogRotate(log, done);
  registerLogCopy(log, done);
}
