import { createHash, type KeyObject } from 'node:crypto';
import { decodeLeafIndex } from '../ct/leaf-index.js';
import { messageOf } from '../errors.js';
import { openCheckpoint, type SignedTreeHead } from './checkpoint.js';
import { checkpointPath, type LogReader } from './storage.js';
import { type DecodedLeaf, decodeDataTile } from './tile-leaf.js';
import { fullTilePath, hashBytes, issuerPath, type TileKind, tilePath, tileWidth } from './tiles.js';

/** One thing that is wrong with a log. */
export interface Finding {
  /** Path below the log's prefix. */
  readonly file: string;
  readonly expected: string;
  readonly found: string;
}

export interface FsckOptions {
  readonly logKey: KeyObject;
  /** Undefined: whatever origin the checkpoint names, which its key id must then fit. */
  readonly origin?: string | undefined;
  /** Milliseconds since the epoch; a tree head of the future is a finding. */
  readonly now?: number;
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
  const tree = new TreeCheck(reader, options);
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

type Fetched =
  | { readonly path: string; readonly bytes: Uint8Array }
  | { readonly path: string; readonly bytes: undefined; readonly problem: string };

async function fetchFile(reader: LogReader, path: string): Promise<Fetched> {
  try {
    const bytes = await reader.fetch(path);
    return bytes === undefined ? { path, bytes, problem: 'it is missing' } : { path, bytes };
  } catch (error) {
    return { path, bytes: undefined, problem: `it cannot be read: ${messageOf(error)}` };
  }
}

/** A partial tile may have given way to the full one, of which it is the beginning (static-ct-api, "Partial Tiles"). */
async function fetchTile(reader: LogReader, kind: TileKind, index: number, width: number): Promise<Fetched> {
  const exact = await fetchFile(reader, tilePath({ kind, index, width }));
  if (exact.bytes !== undefined || width === tileWidth) return exact;
  const full = await fetchFile(reader, fullTilePath(kind, index));
  return full.bytes === undefined ? exact : full;
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
  readonly #issuers = new Set<string>();
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
      this.#checkLeaf(leaf, index, `${fullTilePath('data', tile)} (entry ${index})`);
      for (const fingerprint of leaf.chainFingerprints) await this.#checkIssuer(fingerprint);
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

  async #checkIssuer(fingerprint: Uint8Array): Promise<void> {
    const path = issuerPath(fingerprint);
    if (this.#issuers.has(path)) return;
    this.#issuers.add(path);
    const fetched = await fetchFile(this.#reader, path);
    const expected = `the issuer certificate with SHA-256 ${hex(fingerprint)}`;
    const { report } = this.#options;
    if (fetched.bytes === undefined) return report({ file: path, expected, found: fetched.problem });
    const found = createHash('sha256').update(fetched.bytes).digest();
    if (Buffer.compare(found, fingerprint) !== 0) report({ file: path, expected, found: `SHA-256 ${hex(found)}` });
  }
}

function leafIndexIn(extensions: Uint8Array): string {
  try {
    const found = decodeLeafIndex(extensions);
    return found === undefined ? 'no leaf index' : `leaf index ${found}`;
  } catch (error) {
    return messageOf(error);
  }
}

/** A hash, or undefined where an entry below it could not be read. */
type Known = Uint8Array | undefined;

/** The tree over the entries, rebuilt level by level; a row holds what does not fill a tile yet. */
class TreeCheck {
  readonly #reader: LogReader;
  readonly #report: FsckOptions['report'];
  readonly #rows: { hashes: Known[]; tiles: number }[] = [];
  tiles = 0;

  constructor(reader: LogReader, { report }: FsckOptions) {
    this.#reader = reader;
    this.#report = report;
  }

  /** The leaf hashes of the next tile. */
  async add(hashes: readonly Known[], level = 0): Promise<void> {
    const row = this.#rows[level] ?? { hashes: [], tiles: 0 };
    this.#rows[level] = row;
    row.hashes.push(...hashes);
    if (row.hashes.length < tileWidth) return;
    await this.#compare(level, row.tiles, row.hashes);
    const above = treeHash(row.hashes);
    row.hashes = [];
    row.tiles += 1;
    await this.add([above], level + 1);
  }

  /** Compares the partial tiles and the root hash. */
  async finish(head: SignedTreeHead): Promise<void> {
    for (const [level, row] of this.#rows.entries()) {
      if (row.hashes.length > 0) await this.#compare(level, row.tiles, row.hashes);
    }
    // What lies right of the full tiles of a level is one subtree, smaller than any of them: RFC 6962 splits before it.
    let right: readonly Known[] = [];
    for (const row of this.#rows) {
      const hashes = [...row.hashes, ...right];
      right = hashes.length === 0 ? [] : [treeHash(hashes)];
    }
    const root = right.length === 0 ? createHash('sha256').digest() : right[0];
    if (root === undefined || Buffer.compare(root, head.root) === 0) return;
    const expected = `root hash ${hex(root)}, which its ${head.size} entries give`;
    this.#report({ file: checkpointPath, expected, found: `root hash ${hex(head.root)}` });
  }

  async #compare(level: number, index: number, hashes: readonly Known[]): Promise<void> {
    this.tiles += 1;
    const { length: width } = hashes;
    const fetched = await fetchTile(this.#reader, level, index, width);
    const { path: file, bytes } = fetched;
    if (bytes === undefined) {
      return this.#report({ file, expected: `a tile of ${width} hashes`, found: fetched.problem });
    }
    const size = (file.includes('.p/') ? width : tileWidth) * hashBytes;
    if (bytes.length !== size) {
      return this.#report({ file, expected: `${size} bytes`, found: `${bytes.length} bytes` });
    }
    const differing = hashes.flatMap((hash, i) => {
      const found = bytes.subarray(i * hashBytes, (i + 1) * hashBytes);
      return hash === undefined || Buffer.compare(hash, found) === 0 ? [] : [{ i, hash, found }];
    });
    const [first] = differing;
    if (first === undefined) return;
    const others = differing.length === 1 ? '' : `, and ${differing.length - 1} more hashes differ`;
    const expected = `hash ${first.i} to be ${hex(first.hash)}, which the entries below it give`;
    this.#report({ file, expected, found: `${hex(first.found)}${others}` });
  }
}

function sha256(prefix: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256').update(Uint8Array.of(prefix));
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** MTH of RFC 6962 Section 2.1, word for word, over one hash or more. */
function treeHash(hashes: readonly Known[]): Known {
  if (hashes.length <= 1) return hashes[0];
  let k = 1;
  while (k * 2 < hashes.length) k *= 2;
  const [left, right] = [treeHash(hashes.slice(0, k)), treeHash(hashes.slice(k))];
  return left && right && sha256(1, left, right);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
