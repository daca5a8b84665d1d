import { createPublicKey, type KeyObject } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { readDirectory } from '../ctlog/directory-storage.js';
import { type FsckSummary, fsckLog } from '../ctlog/fsck.js';
import type { Finding } from '../ctlog/fsck-files.js';
import { openHttpReader } from '../ctlog/fsck-http.js';
import { readObjectStore } from '../ctlog/object-storage.js';
import { parseS3Address } from '../ctlog/s3-address.js';
import { type FrozenShard, placeOf, readShards } from '../ctlog/shards.js';
import { type FrozenFiles, openFrozenFiles } from '../ctlog/shards-frozen.js';
import type { LogReader } from '../ctlog/storage.js';
import { AppError, messageOf } from '../errors.js';
import { recordedPublicUrl } from '../server/instance.js';
import { storeAddress } from '../server/log-storage.js';
import { trustFileNames } from '../trust/write.js';
import { declareServeFlags } from './flag-options.js';
import { type OfflineOptions, offlineOptions } from './log-options.js';
import { createProgress } from './log-progress.js';
import { type CommandIo, processIo } from './request-io.js';

export interface FsckCommandOptions extends Pick<OfflineOptions, 'dataDir' | 'ctlogDir' | 'objects'> {
  readonly publicKey?: string;
  readonly origin?: string;
  readonly json?: boolean;
  /** False with --no-precertificates. */
  readonly precertificates?: boolean;
}

/** One log to be checked. */
interface Target {
  readonly reader: FrozenFiles;
  readonly logKey: KeyObject;
  readonly origin: string | undefined;
  /** What a rotation wrote down of a frozen log. */
  readonly frozen?: FrozenShard;
}

interface Verdict {
  readonly log: string;
  readonly sound: boolean;
  readonly summary: FsckSummary | undefined;
  readonly findings: readonly Finding[];
  /** More was wrong than is listed. */
  readonly more: boolean;
}

/** A log with more than this wrong is not described better by a longer list. */
const maxFindings = 50;

const flags = ['data-dir', 'ctlog-dir', 'ctlog-storage', 'ctlog-postgres'] as const;

const help = `
Recomputes the whole tree from the entries and compares it with everything the log has published: the signed checkpoint
and its origin, every hash tile, the leaf index and time of each entry, the issuer certificates, and each precertificate
with its signature. It reads and never writes, so it may run beside a server, on a copy, on a backup or over the
network, for any log in the format of c2sp.org/static-ct-api.

Exit code 0: the log is sound. 1: it is not, or cannot be read; each line says which file, what was expected in it and
what was found.

Examples:
  mayfly log fsck --data-dir ./data
  mayfly log fsck /backup/ctlog --public-key ctlog.pub.pem
  mayfly log fsck 's3://bucket/ctlog?region=eu-central-1' --public-key ctlog.pub.pem
  mayfly log fsck https://ca.example.com/ctlog --public-key ctlog.pub.pem --origin ca.example.com/ctlog
`;

/** `mayfly log fsck [dir|url]`: the independent checker. */
export function registerLogFsck(log: Command, done: (code: number) => void): void {
  const command = log
    .command('fsck')
    .description('check a transparency log from its first entry to its checkpoint')
    .argument(
      '[log]',
      "directory, URL or s3: address of the log; without it, the data directory's own logs, the frozen ones too",
    )
    .option('--public-key <file>', "the log's public key, PEM; needed with a directory or a URL")
    .option('--origin <name>', 'the origin that the checkpoint must carry; not given: the one it carries')
    .option('--no-precertificates', 'leave out the precertificates and their signatures, which take most of the time')
    .option('--json', 'print the result as JSON');
  declareServeFlags(command, flags);
  command.addHelpText('after', help).action(async (given: string | undefined, options: FsckCommandOptions) => {
    done(await fsckCommand(given, { ...options, ...offlineOptions(command, flags, process.env) }, processIo()));
  });
}

/** Checks and prints; resolves with the exit code. Throws AppError STARTUP for flags and files that cannot be used. */
export async function fsckCommand(
  given: string | undefined,
  options: FsckCommandOptions,
  io: Pick<CommandIo, 'out' | 'err' | 'fetch' | 'now' | 'interactive'>,
): Promise<number> {
  const targets = given === undefined ? await ownLogs(options) : [await namedLog(given, options, io.fetch)];
  const verdicts: Verdict[] = [];
  for (const target of targets) verdicts.push(await checkTarget(target, options, io));
  io.out(
    options.json === true ? `${JSON.stringify(verdicts.map(verdictJson), null, 2)}\n` : verdicts.map(text).join(''),
  );
  return verdicts.every(({ sound }) => sound) ? 0 : 1;
}

async function namedLog(
  given: string,
  { publicKey, origin }: FsckCommandOptions,
  fetcher: typeof fetch,
): Promise<Target> {
  if (publicKey === undefined) {
    throw new AppError('STARTUP', `--public-key is missing: by which key is the checkpoint of ${given} to be checked?`);
  }
  const logKey = readPublicKey(publicKey);
  if (/^https?:\/\//.test(given))
    return { reader: kept(openHttpReader({ url: given, fetch: fetcher })), logKey, origin };
  if (given.startsWith('s3:')) {
    return { reader: await readObjectStore(parseS3Address(given, 'the address of the log')), logKey, origin };
  }
  if (!existsSync(given)) throw new AppError('STARTUP', `there is no directory ${given}`);
  return { reader: kept(readDirectory(given)), logKey, origin };
}

/** A reader that has nothing to close. */
function kept(reader: LogReader): FrozenFiles {
  return { ...reader, close() {} };
}

async function ownLogs(options: FsckCommandOptions): Promise<Target[]> {
  const { dataDir, ctlogDir, objects } = options;
  const publicUrl = await recordedPublicUrl(dataDir);
  const { frozen, current } = await readShards(dataDir);
  const base = { dataDir, ctlogDir, publicUrl };
  const key = options.publicKey ?? ownKeyFile(dataDir);
  const logKey = options.publicKey === undefined ? current.publicKey : undefined;
  const place = placeOf(current.name, base);
  const older = frozen.map(async (shard) => {
    const at = placeOf(shard.name, base);
    return { reader: await openFrozenFiles(shard, at), logKey: shard.publicKey, origin: at.origin, frozen: shard };
  });
  const inStore = objects && (await readObjectStore(storeAddress(objects, place.number)));
  return [
    ...(await Promise.all(older)),
    {
      reader: inStore ?? kept(readDirectory(place.directory)),
      logKey: logKey ?? readPublicKey(key),
      origin: options.origin ?? place.origin,
    },
  ];
}

/** A directory that was put back from a backup has no trust files yet; the key itself has the same public half. */
function ownKeyFile(dataDir: string): string {
  const published = join(dataDir, 'trust', trustFileNames.ctLogKey);
  const own = join(dataDir, 'keys', 'ctlog', 'key.pem');
  return !existsSync(published) && existsSync(own) ? own : published;
}

function readPublicKey(path: string): KeyObject {
  try {
    return createPublicKey(readFileSync(path));
  } catch (cause) {
    throw new AppError('STARTUP', `the log's public key cannot be read from ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** Ends a check that has found enough. */
class Enough extends Error {}

async function checkTarget(
  { reader, logKey, origin, frozen }: Target,
  { precertificates = true }: FsckCommandOptions,
  io: Pick<CommandIo, 'err' | 'now' | 'interactive'>,
): Promise<Verdict> {
  const clock = (): number => io.now().getTime();
  const progress = createProgress(reader.name, { err: io.err, interactive: io.interactive, clock });
  const findings: Finding[] = [];
  let more = false;
  let summary: FsckSummary | undefined;
  const report = (finding: Finding): void => {
    more = findings.length === maxFindings;
    if (more) throw new Enough();
    findings.push(finding);
  };
  try {
    summary = await fsckLog(reader, {
      logKey,
      origin,
      now: clock(),
      precertificates,
      report,
      progress: progress.update,
    });
    if (frozen !== undefined && summary !== undefined) compareFrozen(frozen, summary, report);
  } catch (error) {
    if (!(error instanceof Enough)) throw error;
  } finally {
    progress.end();
    reader.close();
  }
  return { log: reader.name, sound: findings.length === 0, summary, findings, more };
}

function compareFrozen(shard: FrozenShard, found: FsckSummary, report: (finding: Finding) => void): void {
  const describe = ({ size, root }: { size: number; root: Uint8Array }) => `${size} entries and root hash ${hex(root)}`;
  if (describe(shard) === describe(found)) return;
  const expected = `${describe(shard)}, with which the log was frozen`;
  report({ file: 'checkpoint', expected, found: describe(found) });
}

function text({ log, findings, more, summary }: Verdict): string {
  const lines = findings.map(
    ({ file, expected, found }) => `  ${file}\n    expected ${expected}\n    found    ${found}`,
  );
  if (findings.length > 0) {
    const many = more ? `more than ${maxFindings}` : findings.length;
    return `${log}: NOT SOUND, ${many} ${findings.length === 1 ? 'thing is' : 'things are'} wrong\n${lines.join('\n')}\n`;
  }
  if (summary === undefined) return `${log}: not checked\n`;
  const { origin, size, root, timestamp, tiles, issuers, outOfOrder } = summary;
  const note =
    outOfOrder === 0
      ? ''
      : `  note        ${outOfOrder} entries are older than the one before them (the format allows it)\n`;
  return (
    `${log}: sound\n  origin      ${origin}\n  entries     ${size}\n  root hash   ${hex(root)}\n` +
    `  tree head   ${new Date(timestamp).toISOString()}\n  checked     ${tiles} tiles, ${issuers} issuers\n${note}`
  );
}

function verdictJson({ log, sound, summary, findings, more }: Verdict): object {
  const described = summary && {
    origin: summary.origin,
    size: summary.size,
    rootHash: Buffer.from(summary.root).toString('base64'),
    timestamp: summary.timestamp,
    tiles: summary.tiles,
    issuers: summary.issuers,
    outOfOrder: summary.outOfOrder,
  };
  return { log, sound, ...described, findings, moreFindings: more };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
