import type { Command } from 'commander';
import { partFiles } from '../audit/head-check.js';
import { parseLine } from '../audit/line.js';
import type { AuditLine } from '../audit/record.js';
import { linesOf, reading } from '../audit/scan.js';
import { AppError, messageOf } from '../errors.js';
import { type CommandIo, processIo } from './request-io.js';

export interface ShowCommandOptions {
  readonly issuer?: string;
  readonly san?: string;
  readonly serial?: string;
  readonly requestId?: string;
  readonly event?: string;
  readonly json?: boolean;
}

const help = `
Prints the lines that fit every filter, in the order of the files given. It does not check the chain: that is for
"mayfly audit verify". A part of a subject alternative name or of an issuer is enough.

Examples:
  mayfly audit show audit.jsonl --san jane@example.com
  mayfly audit show audit.jsonl.* audit.jsonl --serial 6f1c… --json
  mayfly audit show audit.jsonl --event denied
`;

/** `mayfly audit show FILE…` */
export function registerAuditShow(audit: Command, done: (code: number) => void): void {
  audit
    .command('show')
    .description('print lines of an audit trail')
    .argument('<file...>', 'files of the trail')
    .option('--issuer <text>', 'issuer of the token')
    .option('--san <text>', 'subject alternative name')
    .option('--serial <hex>', 'serial number of the certificate')
    .option('--request-id <id>', 'request id, as in the answer and in the server log')
    .option('--event <name>', 'issued, denied, failed …')
    .option('--json', 'print the lines as they stand in the file')
    .addHelpText('after', help)
    .action((files: string[], options: ShowCommandOptions) => {
      done(auditShowCommand(files, options, processIo()));
    });
}

/** Prints; returns the exit code: 1 when there was a line that cannot be read. Throws AppError STARTUP for such a file. */
export function auditShowCommand(
  files: readonly string[],
  options: ShowCommandOptions,
  io: Pick<CommandIo, 'out' | 'err'>,
): number {
  let unreadable = 0;
  for (const file of partFiles(files).trails) {
    try {
      reading(file, (fd) => {
        let number = 0;
        for (const { bytes } of linesOf(fd)) {
          number += 1;
          try {
            const line = parseLine(bytes);
            if (fits(line, options)) io.out(`${options.json === true ? bytes.toString('utf8') : row(line)}\n`);
          } catch (error) {
            unreadable += 1;
            io.err(`${file}:${number}: no line of a trail: ${messageOf(error)}\n`);
          }
        }
      });
    } catch (cause) {
      throw new AppError('STARTUP', `cannot read ${file}: ${messageOf(cause)}`, { cause });
    }
  }
  return unreadable === 0 ? 0 : 1;
}

function fits(line: AuditLine, { issuer, san, serial, requestId, event }: ShowCommandOptions): boolean {
  return (
    (issuer === undefined || line.issuer?.includes(issuer) === true) &&
    (san === undefined || line.san?.value.includes(san) === true) &&
    (serial === undefined || line.serial === serial.replaceAll(':', '').toLowerCase()) &&
    (requestId === undefined || line.requestId === requestId) &&
    (event === undefined || line.event === event)
  );
}

function row(line: AuditLine): string {
  const { time, event, san, issuer, serial, outcome, code, rule, logs, requestId, counts } = line;
  const parts = [
    time,
    event,
    outcome,
    code,
    san && printable(san.value),
    issuer && printable(issuer),
    rule && `rule ${printable(rule)}`,
    serial && `serial ${serial}`,
    logs?.map(({ id, index }) => `entry ${index ?? '?'} of log ${id.slice(0, 8)}`).join(', '),
    counts?.map((row) => `${row.count} ${row.code ?? row.event}`).join(', '),
    requestId && `request ${requestId}`,
  ];
  return parts.filter((part) => part !== undefined && part !== '').join('  ');
}

/** A name out of a token must not write to the terminal what it likes. */
function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}
