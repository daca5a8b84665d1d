import { createHash, type KeyObject } from 'node:crypto';
import { logIdOf } from '../../src/ct/sct.js';
import { issuerChain, sequencedLeaf } from '../../src/ctlog/candidate.js';
import { formatCheckpoint, noteKeyId, signTreeHead } from '../../src/ctlog/checkpoint.js';
import { edgeRoot, emptyEdge, extendEdge } from '../../src/ctlog/edge.js';
import { checkpointPath, type LogReader } from '../../src/ctlog/storage.js';
import { issuerPath } from '../../src/ctlog/tiles.js';
import { chain, issuerKeyHash } from './certificates.js';
import { origin } from './fixtures.js';

export const headTime = 1_700_000_000_000;

export interface SyntheticOptions {
  readonly size: number;
  readonly key: KeyObject;
  readonly publicKey: KeyObject;
  /** Timestamp that entry `index` gets. */
  readonly timeOf?: (index: number) => number;
  /** Leaf index that entry `index` says it has. */
  readonly indexOf?: (index: number) => number;
  /** Precertificates to log, in turn; not given, bytes that are none. */
  readonly precertificates?: readonly { readonly precertificate: Uint8Array; readonly tbs: Uint8Array }[];
  /** Root that the checkpoint gets instead of the tree's. */
  readonly root?: Uint8Array;
}

/** The public files of a log, by path, made without a writer. */
export function syntheticLog(options: SyntheticOptions): Map<string, Uint8Array> {
  const { size, key, publicKey, timeOf = () => headTime - 1, indexOf = (index: number) => index } = options;
  const issuers = issuerChain(chain);
  const leaves = Array.from({ length: size }, (_, i) => {
    const bytes = { precertificate: Buffer.from(`precert ${i}`), tbs: Buffer.from(`tbs ${i}`) };
    const { tbs, precertificate } = options.precertificates?.[i % options.precertificates.length] ?? bytes;
    const entry = { type: 'precert', issuerKeyHash, tbs } as const;
    return sequencedLeaf({ entry, precertificate, issuers }, indexOf(i), timeOf(i));
  });
  const files = new Map<string, Uint8Array>();
  const { edge, tiles } = extendEdge(emptyEdge, leaves);
  for (const { path, parts } of tiles) files.set(path, Buffer.concat(parts));
  for (const der of size === 0 ? [] : chain) files.set(issuerPath(createHash('sha256').update(der).digest()), der);
  const head = signTreeHead({ size, root: options.root ?? edgeRoot(edge), timestamp: headTime }, key);
  files.set(checkpointPath, formatCheckpoint(head, { origin, keyId: noteKeyId(origin, logIdOf(publicKey)) }));
  return files;
}

export function readerOf(files: ReadonlyMap<string, Uint8Array>): LogReader {
  return { name: 'memory', fetch: async (path) => files.get(path) };
}
