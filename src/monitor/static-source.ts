import { createHash } from 'node:crypto';
import { decodeLeafIndex } from '../ct/leaf-index.js';
import { openCheckpoint } from '../ctlog/checkpoint.js';
import { consistencyProof, leafHash, readPeaks } from '../ctlog/merkle.js';
import { checkpointPath, type LogReader } from '../ctlog/storage.js';
import type { DecodedLeaf } from '../ctlog/tile-leaf.js';
import { openTileReader, type TileReader } from '../ctlog/tile-reader.js';
import { fullTilePath, issuerPath, tileWidth } from '../ctlog/tiles.js';
import { messageOf } from '../errors.js';
import type { LogClient } from './client.js';
import { BadAnswer, Stopped, Unavailable } from './finding.js';
import { ahead, type LogEntry, type LogSource, maxEntriesBytes, maxSmallBytes } from './source.js';

/** Issuer certificates kept in memory. */
const maxIssuers = 256;

/** A log in the format of c2sp.org/static-ct-api at its monitoring prefix. */
export function staticSource(client: LogClient): LogSource {
  const issuers = new Map<string, Promise<Uint8Array | undefined>>();
  const files: LogReader = {
    name: client.url,
    fetch: (path) => client.get(path, path.startsWith('tile/data/') ? maxEntriesBytes : maxSmallBytes),
  };

  function issuer(fingerprint: Uint8Array): Promise<Uint8Array | undefined> {
    const path = issuerPath(fingerprint);
    const known = issuers.get(path);
    if (known !== undefined) return known;
    const fetched = fetchIssuer(client, path, fingerprint);
    issuers.set(path, fetched);
    // What could not be had now may be had later.
    fetched.catch(() => issuers.delete(path));
    const [oldest] = issuers.keys();
    if (issuers.size > maxIssuers && oldest !== undefined) issuers.delete(oldest);
    return fetched;
  }

  return {
    type: 'static-ct',
    url: client.url,
    async fetchHead() {
      const bytes = await client.get(checkpointPath, maxSmallBytes);
      if (bytes === undefined) throw new BadAnswer('there is no checkpoint');
      return bytes;
    },
    openHead(bytes, logKey, given) {
      const origin = given ?? originIn(bytes);
      return { head: openCheckpoint(bytes, { origin, logKey }), origin };
    },
    tree({ size }) {
      // New for every head: what a liar put into its cache must not outlive the round.
      const tiles = openTileReader(files);
      return {
        entries: (from) => ahead(dataTiles(tiles, from, size, issuer)),
        consistencyProof: (first, second) => named(consistencyProof(first, second, tiles.nodes(size))),
        peaks: (of) => named(readPeaks(of, tiles.nodes(size))),
      };
    },
  };
}

function originIn(checkpoint: Uint8Array): string {
  return Buffer.from(checkpoint.subarray(0, 1024)).toString('utf8').split('\n', 1)[0] ?? '';
}

/** A missing or malformed tile is a plain Error of the tile reader. */
async function named<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (cause) {
    if (cause instanceof BadAnswer || cause instanceof Unavailable || cause instanceof Stopped) throw cause;
    throw new BadAnswer(messageOf(cause), { cause });
  }
}

type IssuerOf = (fingerprint: Uint8Array) => Promise<Uint8Array | undefined>;

function* dataTiles(
  tiles: TileReader,
  from: number,
  size: number,
  issuer: IssuerOf,
): Iterable<() => Promise<LogEntry[]>> {
  for (let tile = Math.floor(from / tileWidth); tile * tileWidth < size; tile += 1) {
    yield async () => {
      const path = fullTilePath('data', tile);
      const leaves = await named(tiles.leaves(size, tile)).catch((cause: unknown) => {
        throw cause instanceof BadAnswer ? new BadAnswer(`${path}: ${cause.message}`, { cause }) : cause;
      });
      const entries = leaves.map((leaf, i) => entryOf(leaf, tile * tileWidth + i, issuer));
      return entries.filter(({ index }) => index >= from);
    };
  }
}

function entryOf(leaf: DecodedLeaf, index: number, issuer: IssuerOf): LogEntry {
  const [issuing] = leaf.chainFingerprints;
  return {
    index,
    leafHash: leafHash(leaf.merkleTreeLeaf),
    entry: leaf.timestampedEntry,
    problem: indexProblem(leaf.timestampedEntry.extensions, index),
    precertificate: leaf.precertificate,
    issuer: async () => (issuing === undefined ? undefined : issuer(issuing)),
  };
}

function indexProblem(extensions: Uint8Array, index: number): string | undefined {
  try {
    const found = decodeLeafIndex(extensions);
    return found === index ? undefined : `it says it has leaf index ${found ?? 'none'}`;
  } catch (error) {
    return messageOf(error);
  }
}

async function fetchIssuer(client: LogClient, path: string, fingerprint: Uint8Array): Promise<Uint8Array | undefined> {
  const bytes = await client.get(path, maxSmallBytes);
  const found = bytes && createHash('sha256').update(bytes).digest();
  return found !== undefined && Buffer.compare(found, fingerprint) === 0 ? bytes : undefined;
}
