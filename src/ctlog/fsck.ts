import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { decodeLeafIndex } from '../ct/leaf-index.js';
import { messageOf } from '../errors.js';
import { openCheckpoint, type SignedTreeHead } from './checkpoint.js';
import { type Fetched, type Finding, fetchFile, fetchTile } from './fsck-files.js';
import { precertProblem } from './fsck-precert.js';
import { hex, sha256, TreeCheck } from './fsck-tree.js';
import { checkpointPath, type LogReader } from './storage.js';
import { type DecodedLeaf, decodeDataTile } from './tile-leaf.js';
import { fullTilePath, issuerPath, tileWidth } from './tiles.js';

export interface FsckOptions {
  readonly logKey: KeyObject;
  /** Undefined: whatever origin the checkpoint names, which its key id must then fit. */
  readonly origin?: string | undefined;
  /** Milliseconds since the epoch; a tree head of the future is a finding. */
  readonly now?: number;
  /** Check each precertificate, which no hash covers: its TBSCertificate and its signature. */
  readonly precertificates?: boolean;
  /** Told every finding, in the order of the log; may throw to end the check. */
  readonly report: (finding: Finding) => void;
  /** Told every entry that could be read, in order. */
  readonly onLeaf?: (leaf: DecodedLeaf, index: number) => void;
  /** Told how many entries of how many have been checked. */
  readonly progress?: (checked: number, total: number) => void;
}

/** What a check went through. */
export interface FsckSummary {
  readonly origin: string;
  readonly size: number;
  /** As the checkpoint has it. */
  readonly root: Uint8Array;
  /** Of the tree head, milliseconds since the epoch. */
  readonly timestamp: number;
  readonly tiles: number;
  readonly issuers: number;
  /** Milliseconds since the epoch: of the entry that has the latest one. */
  readonly lastTimestamp: number | undefined;
  /** Entries with an earlier timestamp than the one before them, which the specification allows and mayfly never writes. */
  readonly outOfOrder: number;
}

/** Data tiles read ahead of the one being checked: a log at the other end of a network answers many at once. */
const readAhead = 8;
const maxFutureMs = 5 * 60_000;

/**
 * Checks a whole log (c2sp.org/static-ct-api) against its published checkpoint: recomputes every hash from the data tiles
 * by the recursive definition of RFC 6962 Section 2.1, not by the code that wrote them, and compares root, hash tiles,
 * leaf indexes, timestamps and issuers.
 *
 * Reads tile by tile and keeps what is left of one tile at each level, so memory does not grow with the log. Resolves
 * with undefined when there is no usable checkpoint; throws only what `report` throws.
 */
export async function fsckLog(reader: LogReader, options: FsckOptions): Promise<FsckSummary | undefined> {
  const opened = await readHead(reader, options);
  if (opened === undefined) return undefined;
  const { head, origin } = opened;
  const tree = new TreeCheck(reader, options.report);
  const entries = new EntryCheck(reader, options, head);
  const tileCount = Math.ceil(head.size / tileWidth);
  const ahead: Promise<Fetched>[] = [];
  const widthOf = (index: number): number => Math.min(tileWidth, head.size - index * tileWidth);
  for (let index = 0; index < tileCount; index += 1) {
    for (let next = index + ahead.length; next < tileCount && ahead.length < readAhead; next += 1) {
      ahead.push(fetchTile(reader, 'data', next, widthOf(next)));
    }
    const fetched = await ahead.shift();
    if (fetched === undefined) break;
    const width = widthOf(index);
    const leaves = decodeTile(fetched, width, options.report);
    await entries.check(leaves, index);
    const hashes = leaves.map(({ merkleTreeLeaf }) => sha256(0, merkleTreeLeaf));
    // An entry that cannot be read leaves a hole, and what would contain it is not compared.
    await tree.add(Array.from({ length: width }, (_, i) => hashes[i]));
    options.progress?.(Math.min(head.size, (index + 1) * tileWidth), head.size);
  }
  await tree.finish(head);
  const { size, root, timestamp } = head;
  return { origin, size, root, timestamp, tiles: tree.tiles + tileCount, ...entries.summary() };
}

async function readHead(
  reader: LogReader,
  { origin, logKey, now, report }: FsckOptions,
): Promise<{ head: SignedTreeHead; origin: string } | undefined> {
  const fetched = await fetchFile(reader, checkpointPath);
  if (fetched.bytes === undefined) {
    report({ file: checkpointPath, expected: 'a signed checkpoint', found: fetched.problem });
    return undefined;
  }
  const named = origin ?? originIn(fetched.bytes);
  try {
    const head = openCheckpoint(fetched.bytes, { origin: named, logKey });
    if (now !== undefined && head.timestamp > now + maxFutureMs) {
      const expected = `a time that is not after ${iso(now)}`;
      report({ file: checkpointPath, expected, found: `the tree head is of ${iso(head.timestamp)}` });
    }
    return { head, origin: named };
  } catch (cause) {
    const expected = `a checkpoint of "${named}" signed with the key given`;
    report({ file: checkpointPath, expected, found: messageOf(cause) });
    return undefined;
  }
}

function originIn(checkpoint: Uint8Array): string {
  return Buffer.from(checkpoint.subarray(0, 1024)).toString('utf8').split('\n', 1)[0] ?? '';
}

/** The first `width` entries of a data tile; fewer, and reported, when it does not hold them. */
function decodeTile(fetched: Fetched, width: number, report: FsckOptions['report']): DecodedLeaf[] {
  const { path: file } = fetched;
  const wrong = (found: string): DecodedLeaf[] => {
    report({ file, expected: `${width} whole entries`, found });
    return [];
  };
  if (fetched.bytes === undefined) return wrong(fetched.problem);
  try {
    const leaves = decodeDataTile(fetched.bytes);
    const whole = file.includes('.p/') || width === tileWidth ? leaves.length === width : leaves.length === tileWidth;
    return whole ? leaves.slice(0, width) : wrong(`${leaves.length} entries`);
  } catch (error) {
    return wrong(messageOf(error));
  }
}

/** Checks what an entry says of itself, and that its issuers are there. */
class EntryCheck {
  readonly #reader: LogReader;
  readonly #options: FsckOptions;
  readonly #head: SignedTreeHead;
  /** By path; undefined for one that is not there or no certificate. */
  readonly #issuers = new Map<string, X509Certificate | undefined>();
  #last: bigint | undefined;
  #latest: bigint | undefined;
  #outOfOrder = 0;

  constructor(reader: LogReader, options: FsckOptions, head: SignedTreeHead) {
    this.#reader = reader;
    this.#options = options;
    this.#head = head;
  }

  async check(leaves: readonly DecodedLeaf[], tile: number): Promise<void> {
    for (const [i, leaf] of leaves.entries()) {
      const index = tile * tileWidth + i;
      this.#checkLeaf(leaf, index, placeOf(index));
      for (const fingerprint of leaf.chainFingerprints) await this.#checkIssuer(fingerprint);
      this.#checkPrecert(leaf, index);
      this.#options.onLeaf?.(leaf, index);
    }
  }

  summary(): Pick<FsckSummary, 'issuers' | 'lastTimestamp' | 'outOfOrder'> {
    const lastTimestamp = this.#latest === undefined ? undefined : Number(this.#latest);
    return { issuers: this.#issuers.size, lastTimestamp, outOfOrder: this.#outOfOrder };
  }

  #checkLeaf({ timestampedEntry: { timestamp, extensions } }: DecodedLeaf, index: number, file: string): void {
    const { report } = this.#options;
    const found = leafIndexIn(extensions);
    if (found !== `leaf index ${index}`) report({ file, expected: `leaf index ${index}`, found });
    if (timestamp > BigInt(this.#head.timestamp)) {
      const expected = `a timestamp not after the tree head's, ${this.#head.timestamp}`;
      report({ file, expected, found: `timestamp ${timestamp}` });
    }
    if (this.#last !== undefined && timestamp < this.#last) this.#outOfOrder += 1;
    this.#last = timestamp;
    if (this.#latest === undefined || timestamp > this.#latest) this.#latest = timestamp;
  }

  #checkPrecert(leaf: DecodedLeaf, index: number): void {
    if (this.#options.precertificates !== true) return;
    const [issuing] = leaf.chainFingerprints;
    const problem = precertProblem(leaf, issuing && this.#issuers.get(issuerPath(issuing)));
    if (problem !== undefined) this.#options.report({ file: placeOf(index), ...problem });
  }

  async #checkIssuer(fingerprint: Uint8Array): Promise<void> {
    const path = issuerPath(fingerprint);
    if (this.#issuers.has(path)) return;
    this.#issuers.set(path, undefined);
    const fetched = await fetchFile(this.#reader, path);
    const expected = `the issuer certificate with SHA-256 ${hex(fingerprint)}`;
    const wrong = (found: string): void => this.#options.report({ file: path, expected, found });
    if (fetched.bytes === undefined) return wrong(fetched.problem);
    const found = createHash('sha256').update(fetched.bytes).digest();
    if (Buffer.compare(found, fingerprint) !== 0) return wrong(`SHA-256 ${hex(found)}`);
    try {
      this.#issuers.set(path, new X509Certificate(fetched.bytes));
    } catch (error) {
      wrong(`no certificate: ${messageOf(error)}`);
    }
  }
}

/** Where an entry stands, for a finding. */
function placeOf(index: number): string {
  return `${fullTilePath('data', Math.floor(index / tileWidth))} (entry ${index})`;
}

function leafIndexIn(extensions: Uint8Array): string {
  try {
    const found = decodeLeafIndex(extensions);
    return found === undefined ? 'no leaf index' : `leaf index ${found}`;
  } catch (error) {
    return messageOf(error);
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
