import { createHash, type KeyObject } from 'node:crypto';
import type { TimestampedEntry } from '../ct/leaf.js';
import { decodeLeafIndex } from '../ct/leaf-index.js';
import { openCheckpoint, type SignedTreeHead } from './checkpoint.js';
import { readDirectory } from './directory-storage.js';
import { checkpointPath, type LogReader } from './storage.js';
import { type DecodedLeaf, decodeDataTile } from './tile-leaf.js';
import { fullTilePath, issuerPath, type TileKind, tilePath } from './tiles.js';

/** One entry of a checked log. */
export interface CheckedLeaf {
  readonly index: number;
  readonly entry: TimestampedEntry;
  readonly precertificate: Uint8Array | undefined;
}

export interface CheckedLog {
  readonly size: number;
  readonly root: Uint8Array;
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
  readonly leaves: readonly CheckedLeaf[];
}

/** What `checkLog` found wrong; the message names the file and what was expected in it. */
export class LogCheckError extends Error {
  override readonly name = 'LogCheckError';
}

/**
 * Checks a whole log against its published checkpoint: recomputes every hash from the data tiles by the recursive
 * definition of RFC 6962 Section 2.1, not by the code that wrote them, and compares hash tiles, leaf indexes, timestamps
 * and issuers. Reads everything into memory. `log` is a directory or a reader; throws LogCheckError.
 */
export async function checkLog(log: string | LogReader, logKey: KeyObject, origin: string): Promise<CheckedLog> {
  const reader = typeof log === 'string' ? readDirectory(log) : log;
  const head = await readHead(reader, logKey, origin);
  const { size } = head;
  const stored = await readEntries(reader, size);
  const hashes = stored.map(({ merkleTreeLeaf }) => sha256(0, merkleTreeLeaf));
  const root = merkleTreeHash(hashes);
  requireSame(root, head.root, `root hash of the ${size} entries`);
  await checkHashTiles(reader, hashes);
  await checkIssuers(reader, stored);
  stored.forEach(({ timestampedEntry }, index) => {
    requireEntry(timestampedEntry, index, head);
  });
  const leaves = stored.map(({ timestampedEntry, precertificate }, index) => ({
    index,
    entry: timestampedEntry,
    precertificate,
  }));
  return { size, root, timestamp: head.timestamp, leaves };
}

async function readHead(reader: LogReader, logKey: KeyObject, origin: string): Promise<SignedTreeHead> {
  const bytes = await fetchFile(reader, checkpointPath);
  try {
    return openCheckpoint(bytes, { origin, logKey });
  } catch (cause) {
    throw new LogCheckError(`${checkpointPath}: ${cause instanceof Error ? cause.message : ''}`, { cause });
  }
}

async function fetchFile(reader: LogReader, path: string): Promise<Uint8Array> {
  const bytes = await reader.fetch(path);
  if (bytes === undefined) throw new LogCheckError(`${path} is missing`);
  return bytes;
}

async function readEntries(reader: LogReader, size: number): Promise<DecodedLeaf[]> {
  const entries: DecodedLeaf[] = [];
  for (let index = 0; index * 256 < size; index += 1) {
    const width = Math.min(256, size - index * 256);
    const { bytes, path } = await fetchTile(reader, 'data', index, width);
    const leaves = decodeDataTile(bytes);
    const enough = path.includes('.p/') ? leaves.length === width : leaves.length >= width;
    if (!enough) throw new LogCheckError(`${path} holds ${leaves.length} entries; expected ${width}`);
    entries.push(...leaves.slice(0, width));
  }
  return entries;
}

/** A partial tile may have given way to the full one, of which it is the beginning. */
async function fetchTile(
  reader: LogReader,
  kind: TileKind,
  index: number,
  width: number,
): Promise<{ bytes: Uint8Array; path: string }> {
  const path = tilePath({ kind, index, width });
  const exact = await reader.fetch(path);
  if (exact !== undefined) return { bytes: exact, path };
  const full = fullTilePath(kind, index);
  const bytes = await reader.fetch(full);
  if (bytes === undefined) throw new LogCheckError(`${path} is missing`);
  return { bytes, path: full };
}

async function checkHashTiles(reader: LogReader, leafHashes: readonly Uint8Array[]): Promise<void> {
  let row = leafHashes;
  for (let level = 0; row.length > 0; level += 1) {
    const above: Uint8Array[] = [];
    for (let index = 0; index * 256 < row.length; index += 1) {
      const expected = row.slice(index * 256, (index + 1) * 256);
      const { bytes, path } = await fetchTile(reader, level, index, expected.length);
      requireSame(Buffer.concat(expected), bytes.subarray(0, expected.length * 32), path);
      if (expected.length === 256) above.push(merkleTreeHash(expected));
    }
    row = above;
  }
}

async function checkIssuers(reader: LogReader, leaves: readonly DecodedLeaf[]): Promise<void> {
  const fingerprints = new Map(leaves.flatMap((leaf) => leaf.chainFingerprints.map((f) => [issuerPath(f), f])));
  for (const [path, fingerprint] of fingerprints) {
    requireSame(
      createHash('sha256')
        .update(await fetchFile(reader, path))
        .digest(),
      fingerprint,
      path,
    );
  }
}

function requireEntry(entry: TimestampedEntry, index: number, head: SignedTreeHead): void {
  const found = decodeLeafIndex(entry.extensions);
  if (found !== index) throw new LogCheckError(`entry ${index} says that its leaf index is ${found}`);
  if (entry.timestamp > BigInt(head.timestamp)) {
    throw new LogCheckError(`entry ${index} has timestamp ${entry.timestamp}; the tree head has ${head.timestamp}`);
  }
}

function requireSame(computed: Uint8Array, found: Uint8Array, what: string): void {
  if (Buffer.compare(computed, found) === 0) return;
  throw new LogCheckError(`${what} differs from what its entries give`);
}

function sha256(prefix: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256').update(Uint8Array.of(prefix));
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** MTH of RFC 6962 Section 2.1, word for word. */
function merkleTreeHash(hashes: readonly Uint8Array[]): Uint8Array {
  const [only] = hashes;
  if (only === undefined) return createHash('sha256').digest();
  if (hashes.length === 1) return only;
  let k = 1;
  while (k * 2 < hashes.length) k *= 2;
  return sha256(1, merkleTreeHash(hashes.slice(0, k)), merkleTreeHash(hashes.slice(k)));
}
