import { encodeExtraData } from '../ct/leaf.js';
import { AppError } from '../errors.js';
import type { SignedTreeHead } from './checkpoint.js';
import type { IndexCache } from './index-cache.js';
import type { Issuers } from './issuers.js';
import { consistencyProof, type Hash, inclusionProof } from './merkle.js';
import type { DecodedLeaf } from './tile-leaf.js';
import type { TileReader } from './tile-reader.js';
import { tileWidth } from './tiles.js';

/** An entry as get-entries gives it (RFC 6962 Section 4.6). */
export interface LogEntry {
  /** TLS bytes of the MerkleTreeLeaf. */
  readonly leafInput: Uint8Array;
  /** X509ChainEntry's chain or a PrecertChainEntry. */
  readonly extraData: Uint8Array;
}

/** What anybody may read of a log: only what the published tree head covers. */
export interface LogReads {
  treeHead(): SignedTreeHead;
  /** From `start` to `end` inclusive, fewer when there are fewer or more than the limit. */
  entries(start: number, end: number): Promise<LogEntry[]>;
  inclusionProof(index: number, size: number): Promise<Hash[]>;
  consistencyProof(first: number, second: number): Promise<Hash[]>;
  /** Index of a leaf below `size` by its leaf hash; throws AppError CT_LOG_UNAVAILABLE while that may be unknown. */
  indexOf(leafHash: Hash, size: number): number | undefined;
}

export interface ReadDeps {
  readonly published: () => SignedTreeHead;
  readonly tiles: TileReader;
  readonly index: IndexCache;
  readonly issuers: Pick<Issuers, 'fetch'>;
  /** Entries of one answer. */
  readonly maxEntries: number;
}

const building = 'the index of the log is being built, and this hash is not in it yet';

function invalid(detail: string): AppError {
  return new AppError('PARAMETER_INVALID', detail);
}

/** The reads of an embedded log; every one throws AppError PARAMETER_INVALID when it asks for what is not published. */
export function logReads(deps: ReadDeps): LogReads {
  const { published, tiles, index, issuers, maxEntries } = deps;

  function requireSize(name: string, size: number): void {
    const { size: current } = published();
    if (size < 1) throw invalid(`${name} is ${size}; expected at least 1`);
    if (size > current) throw invalid(`${name} is ${size}; the log has ${current} entries`);
  }

  async function toEntry(leaf: DecodedLeaf): Promise<LogEntry> {
    const chain = await Promise.all(leaf.chainFingerprints.map((fingerprint) => issuers.fetch(fingerprint)));
    return { leafInput: leaf.merkleTreeLeaf, extraData: encodeExtraData(chain, leaf.precertificate) };
  }

  return {
    treeHead: published,
    async entries(start, end) {
      const { size } = published();
      if (start > end) throw invalid(`start is ${start} and end is ${end}; expected start <= end`);
      if (start >= size) throw invalid(`start is ${start}; the log has ${size} entries`);
      const stop = Math.min(end + 1, size, start + maxEntries);
      const entries: LogEntry[] = [];
      for (let at = start; at < stop; ) {
        const tile = Math.floor(at / tileWidth);
        const base = tile * tileWidth;
        const leaves = (await tiles.leaves(size, tile)).slice(at - base, stop - base);
        entries.push(...(await Promise.all(leaves.map(toEntry))));
        at += leaves.length;
      }
      return entries;
    },
    async inclusionProof(leafIndex, size) {
      requireSize('tree_size', size);
      if (leafIndex >= size) throw invalid(`leaf_index is ${leafIndex}; expected less than the tree_size, ${size}`);
      return inclusionProof(leafIndex, size, tiles.nodes(size));
    },
    async consistencyProof(first, second) {
      if (first < 0 || first > second) throw invalid(`first is ${first}; expected 0 to second, ${second}`);
      // Of a log that is still empty, too: its readers ask for this as of any other.
      if (second === 0) return [];
      requireSize('second', second);
      // The empty tree is consistent with every other, and RFC 6962 has no proof to show for it.
      return first === 0 ? [] : consistencyProof(first, second, tiles.nodes(second));
    },
    indexOf(leafHash, size) {
      requireSize('tree_size', size);
      const found = index.indexOf(leafHash);
      if (found === undefined && index.building)
        throw new AppError('CT_LOG_UNAVAILABLE', building, { retryAfterSeconds: 30 });
      return found !== undefined && found < size ? found : undefined;
    },
  };
}
