import { hash, type KeyObject, randomFillSync, X509Certificate } from 'node:crypto';
import { type IssuerChain, sequencedLeaf } from '../../src/ctlog/candidate.js';
import { formatCheckpoint, openCheckpoint, signTreeHead } from '../../src/ctlog/checkpoint.js';
import { openDirectoryStorage } from '../../src/ctlog/directory-storage.js';
import { type Edge, edgeRoot, emptyEdge, extendEdge } from '../../src/ctlog/edge.js';
import { Issuers } from '../../src/ctlog/issuers.js';
import { identityOf } from '../../src/ctlog/recovery.js';
import type { LogStorage } from '../../src/ctlog/storage.js';
import type { EncodedLeaf } from '../../src/ctlog/tile-leaf.js';

/** How large an entry's parts are, in bytes of DER. */
export interface EntryBytes {
  readonly tbs: number;
  readonly precertificate: number;
}

/** The log to write, and whose it is. */
export interface GeneratedLog {
  /** Empty, or with a log of this key and origin that has no entry yet. */
  readonly directory: string;
  readonly key: KeyObject;
  readonly origin: string;
  /** The chain that all the entries are below. */
  readonly issuers: IssuerChain;
  /** Entries. */
  readonly size: number;
  readonly bytes: EntryBytes;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

/** Leaves that are made and written at once: whole tiles. */
const chunk = 65_536;

/**
 * Writes a log of `size` entries of random bytes, through the code that writes tiles but without HTTP, signatures of SCTs
 * and fsync. The entries are as if they had been logged a minute ago, or just now where the log was made later than that.
 * Throws when the log that is there has entries.
 */
export async function generateLog(log: GeneratedLog): Promise<void> {
  const { directory, key, origin, issuers, size, clock } = log;
  const storage = openDirectoryStorage(directory);
  try {
    const identity = identityOf(origin, key);
    const found = await storage.loadCheckpoint();
    const before = found && openCheckpoint(found, { origin, logKey: identity.publicKey });
    if (before !== undefined && before.size > 0) throw new Error(`the log in ${directory} has ${before.size} entries`);
    await new Issuers(storage).store([issuers]);
    const timestamp = Math.max(clock() - 60_000, (before?.timestamp ?? 0) + 1);
    const newLeaves = leafMaker(log, timestamp);
    let edge = emptyEdge;
    while (edge.peaks.size < size) {
      const count = Math.min(chunk, size - edge.peaks.size);
      edge = await append(storage, edge, newLeaves(edge.peaks.size, count));
    }
    const head = signTreeHead({ size, root: edgeRoot(edge), timestamp }, key);
    const checkpoint = formatCheckpoint(head, identity);
    await storage.replaceCheckpoint(found, checkpoint);
    await storage.publish(checkpoint);
  } finally {
    await storage.close();
  }
}

async function append(storage: LogStorage, edge: Edge, leaves: readonly EncodedLeaf[]): Promise<Edge> {
  const growth = extendEdge(edge, leaves);
  await Promise.all(growth.tiles.map(({ path, parts }) => storage.upload(path, Buffer.concat(parts))));
  return growth.edge;
}

/** Makes `count` leaves of random bytes that stand in the log from `first` on. */
function leafMaker({ issuers, bytes }: GeneratedLog, timestamp: number) {
  const issuerKeyHash = keyHashOf(issuers);
  return (first: number, count: number): EncodedLeaf[] =>
    Array.from({ length: count }, (_, i) => {
      const entry = { type: 'precert', issuerKeyHash, tbs: randomFillSync(Buffer.alloc(bytes.tbs)) } as const;
      const precertificate = Buffer.alloc(bytes.precertificate, i);
      return sequencedLeaf({ entry, precertificate, issuers }, first + i, timestamp);
    });
}

/** SHA-256 of the issuing CA's SubjectPublicKeyInfo (RFC 6962 Section 3.2). */
function keyHashOf({ certificates: [issuing = Buffer.of()] }: IssuerChain): Uint8Array {
  const { publicKey } = new X509Certificate(issuing);
  return hash('sha256', publicKey.export({ type: 'spki', format: 'der' }), 'buffer');
}
