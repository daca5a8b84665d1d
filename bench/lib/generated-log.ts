import { randomFillSync } from 'node:crypto';
import { sequencedLeaf } from '../../src/ctlog/candidate.js';
import { formatCheckpoint, signTreeHead } from '../../src/ctlog/checkpoint.js';
import { openDirectoryStorage } from '../../src/ctlog/directory-storage.js';
import { type Edge, edgeRoot, emptyEdge, extendEdge } from '../../src/ctlog/edge.js';
import { Issuers } from '../../src/ctlog/issuers.js';
import { identityOf } from '../../src/ctlog/recovery.js';
import type { LogStorage } from '../../src/ctlog/storage.js';
import type { EncodedLeaf } from '../../src/ctlog/tile-leaf.js';
import { issuerKeyHash } from '../../test/ctlog/certificates.js';
import { issuers, type LogFiles, origin } from './log-files.js';

/** How large an entry's parts are, in bytes of DER. */
export interface EntryBytes {
  readonly tbs: number;
  readonly precertificate: number;
}

/** Leaves that are made and written at once: whole tiles. */
const chunk = 65_536;

/**
 * Writes a log of `size` entries of random bytes into an empty directory, through the code that writes tiles but without
 * HTTP, signatures of SCTs and fsync. The last entries are as if they had been logged a minute ago.
 */
export async function generateLog(
  files: LogFiles,
  size: number,
  bytes: EntryBytes,
  clock: () => number,
): Promise<void> {
  const storage = openDirectoryStorage(files.directory);
  try {
    await new Issuers(storage).store([issuers]);
    const timestamp = clock() - 60_000;
    let edge = emptyEdge;
    while (edge.peaks.size < size) {
      const count = Math.min(chunk, size - edge.peaks.size);
      edge = await append(storage, edge, randomLeaves(edge.peaks.size, count, bytes, timestamp));
    }
    const identity = identityOf(origin, files.key);
    const head = signTreeHead({ size, root: edgeRoot(edge), timestamp }, files.key);
    const checkpoint = formatCheckpoint(head, identity);
    await storage.loadCheckpoint();
    await storage.replaceCheckpoint(undefined, checkpoint);
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

function randomLeaves(first: number, count: number, bytes: EntryBytes, timestamp: number): EncodedLeaf[] {
  return Array.from({ length: count }, (_, i) => {
    const entry = { type: 'precert', issuerKeyHash, tbs: randomFillSync(Buffer.alloc(bytes.tbs)) } as const;
    const precertificate = Buffer.alloc(bytes.precertificate, i);
    return sequencedLeaf({ entry, precertificate, issuers }, first + i, timestamp);
  });
}
