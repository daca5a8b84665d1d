import { createHash, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { Head } from '../audit/line.js';
import { type Problem, type VerifiedTrail, verifyTrails } from '../audit/verify.js';
import { type Comparison, LogComparison, type LogContents, readLogContents } from '../audit/verify-log.js';
import { readDirectory } from '../ctlog/directory-storage.js';
import { openHttpReader } from '../ctlog/fsck-http.js';
import type { LogReader } from '../ctlog/storage.js';
import { AppError, messageOf } from '../errors.js';
import { createProgress } from './log-progress.js';
import { type CommandIo, processIo } from './request-io.js';

export interface VerifyCommandOptions {
  readonly log?: readonly string[];
  readonly ctlogDir?: readonly string[];
  readonly publicKey?: readonly string[];
  readonly ca?: readonly string[];
  readonly head?: string;
  readonly json?: boolean;
}

type Io = Pick<CommandIo, 'out' | 'err' | 'fetch' | 'now' | 'interactive'>;

const help = `
Follows the chain of hashes from the first line to the last and stops at the first bad line of a trail, saying which and
why. Give all files of a trail, in any order; files of several trails may be given together. A server may be running.

With --log or --ctlog-dir it also reads the whole transparency log and holds the two against each other: every line that
names an entry must have it, and every entry must have its line. Logs come first, each with its --public-key.

A chain cannot show that its last lines were cut off. For that there is FILE.head, which the server writes beside the trail
and which is read if it is there. Whoever can write to the trail can write to it too: note the head that is printed
elsewhere, and give it with --head the next time; or compare with the log, which has every certificate.

Exit code 0: everything holds. 1: it does not, or cannot be read.

Examples:
  mayfly audit verify /var/log/mayfly/audit.jsonl*
  mayfly audit verify audit.jsonl* --ctlog-dir data/ctlog --public-key data/trust/ctlog.pub.pem
  mayfly audit verify audit.jsonl* --log https://ca.example.com/ctlog --public-key ctlog.pub.pem --head 5321:9f86d0…
`;

const several = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

/** `mayfly audit verify FILE…` */
export function registerAuditVerify(audit: Command, done: (code: number) => void): void {
  audit
    .command('verify')
    .description('check the chain of an audit trail, and compare it with the transparency log')
    .argument('<file...>', 'files of the trail, in any order')
    .option('--log <url>', 'transparency log to compare with; may be repeated', several)
    .option('--ctlog-dir <dir>', 'the same, as a directory; may be repeated', several)
    .option('--public-key <file>', "the log's public key, PEM; one for each log, --log first", several)
    .option('--ca <file>', 'PEM certificate of the CA, where others write to the log too; may be repeated', several)
    .option('--head <seq:sha256>', 'a head that was noted earlier: its line must still be there')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', help)
    .action(async (files: string[], options: VerifyCommandOptions) => {
      done(await auditVerifyCommand(files, options, processIo()));
    });
}

const maxProblems = 50;

/** Verifies and prints; resolves with the exit code. Throws AppError STARTUP for options and files that cannot be used. */
export async function auditVerifyCommand(
  files: readonly string[],
  options: VerifyCommandOptions,
  io: Io,
): Promise<number> {
  const missing = files.find((file) => !existsSync(file));
  if (missing !== undefined) throw new AppError('STARTUP', `there is no file ${missing}`);
  const problems: Problem[] = [];
  let isWhole = true;
  const report = (problem: Problem, about: 'chain' | 'end' = 'chain'): void => {
    problems.push(problem);
    if (about === 'chain') isWhole = false;
  };
  const head = options.head === undefined ? undefined : parseHead(options.head);
  // Before the trail, so that every entry that is read has its line by the time the lines are.
  const logs = await readLogs(options, report, io);
  const comparisons = logs.map((log) => new LogComparison(log, report));
  let trails: readonly VerifiedTrail[];
  try {
    trails = verifyTrails([...new Set(files)], {
      report,
      ...(head === undefined ? {} : { expected: [head] }),
      onLine: (line, file, number) => {
        for (const comparison of comparisons) comparison.line(line, file, number);
      },
    });
  } catch (cause) {
    throw new AppError('STARTUP', `the audit trail cannot be read: ${messageOf(cause)}`, { cause });
  }
  // Entries behind a broken chain have no line only because it was not read.
  const compared = isWhole ? comparisons.map((comparison) => comparison.end()) : [];
  if (options.json === true) io.out(`${JSON.stringify(json(trails, compared, problems), null, 2)}\n`);
  else io.out(text(trails, compared, problems));
  return problems.length === 0 ? 0 : 1;
}

function parseHead(text: string): Head {
  const [, seq, hash] = /^([1-9]\d{0,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (seq !== undefined && hash !== undefined) return { seq: Number(seq), hash };
  throw new AppError('STARTUP', `--head is "${text}"; expected a sequence number, a colon and 64 hex digits`);
}

async function readLogs(
  options: VerifyCommandOptions,
  report: (problem: Problem) => void,
  io: Io,
): Promise<LogContents[]> {
  const { log = [], ctlogDir = [], publicKey = [], ca = [] } = options;
  const readers: LogReader[] = [
    ...log.map((url) => openHttpReader({ url, fetch: io.fetch })),
    ...ctlogDir.map(directory),
  ];
  if (publicKey.length !== readers.length) {
    const found = `${readers.length} logs and ${publicKey.length} times --public-key were given`;
    throw new AppError('STARTUP', `${found}; expected the public key of each log, those of --log first`);
  }
  const issuerKeys = ca.length === 0 ? undefined : new Set(ca.map(issuerKeyIn));
  const contents: LogContents[] = [];
  for (const [at, reader] of readers.entries()) {
    const clock = (): number => io.now().getTime();
    const progress = createProgress(reader.name, { err: io.err, interactive: io.interactive, clock });
    const logKey = keyIn(publicKey[at] ?? '');
    const found = await readLogContents(reader, { logKey, issuerKeys, report, progress: progress.update });
    progress.end();
    if (found !== undefined) contents.push(found);
  }
  return contents;
}

function directory(path: string): LogReader {
  if (!existsSync(path)) throw new AppError('STARTUP', `--ctlog-dir: there is no directory ${path}`);
  return readDirectory(path);
}

function keyIn(path: string): KeyObject {
  try {
    return createPublicKey(readFileSync(path));
  } catch (cause) {
    throw new AppError('STARTUP', `--public-key: cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** The first certificate of a chain is the one that issues. */
function issuerKeyIn(path: string): string {
  try {
    const { publicKey } = new X509Certificate(readFileSync(path));
    return createHash('sha256')
      .update(publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex');
  } catch (cause) {
    throw new AppError('STARTUP', `--ca: cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

function json(trails: readonly VerifiedTrail[], logs: readonly Comparison[], problems: readonly Problem[]): object {
  return {
    sound: problems.length === 0,
    trails: trails.map(({ events, ...trail }) => ({ ...trail, events: Object.fromEntries(events) })),
    logs,
    problems: problems.slice(0, maxProblems),
    moreProblems: problems.length > maxProblems,
  };
}

function text(trails: readonly VerifiedTrail[], logs: readonly Comparison[], problems: readonly Problem[]): string {
  const listed = problems.slice(0, maxProblems).map(({ file, line, problem }) => {
    return `${file}${line === undefined ? '' : `:${line}`}: ${problem}\n`;
  });
  const more = problems.length > maxProblems ? `and ${problems.length - maxProblems} more\n` : '';
  const verdict =
    problems.length === 0 ? 'sound' : `NOT SOUND, ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`;
  return `${trails.map(trailText).join('')}${logs.map(logText).join('')}${listed.join('')}${more}${verdict}\n`;
}

function trailText(trail: VerifiedTrail): string {
  const { instance, files, first, head, from, to, events, open, stopped, torn } = trail;
  const counts = [...events].map(([event, count]) => `${count} ${event}`).join(', ');
  const notes = [
    ...(first > 1 ? [`begins at line ${first}; earlier files were not given`] : []),
    ...(torn > 0 ? [`${torn} cut off by a crash, as the next file says`] : []),
    ...(open > 0 ? [`${open} intents without an outcome: under way, or for the next start to look up`] : []),
    ...(stopped ? [] : ['no "stopped" at the end: the server is running, or was killed']),
  ];
  return (
    `trail of ${instance}\n  files    ${files.length}\n  lines    ${first} to ${head.seq}, ${from} to ${to}\n` +
    `  events   ${counts}\n  head     ${head.seq}:${head.hash}\n${notes.map((note) => `  note     ${note}\n`).join('')}`
  );
}

function logText({ log, entries, matched, before, behind }: Comparison): string {
  const notes = [
    ...(before > 0 ? [`${before} entries are older than the first line`] : []),
    ...(behind > 0 ? [`${behind} lines are of entries behind the checkpoint that was read`] : []),
  ];
  const lines = notes.map((note) => `  note     ${note}\n`).join('');
  return `log ${log}\n  entries  ${entries}, of which ${matched} are named by an outcome\n${lines}`;
}
