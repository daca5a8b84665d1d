import { z } from 'zod';
import { decodeMerkleTreeLeaf, type TimestampedEntry } from '../ct/leaf.js';
import { TlsReader } from '../ct/tls.js';
import { CheckpointError, type SignedTreeHead, verifyTreeHead } from '../ctlog/checkpoint.js';
import { type Hash, leafHash, nodeHash, noPeaks, type Peaks } from '../ctlog/merkle.js';
import { messageOf } from '../errors.js';
import type { LogClient } from './client.js';
import { BadAnswer } from './finding.js';
import { ahead, type LogEntry, type LogSource, maxEntriesBytes, maxSmallBytes } from './source.js';

const base64 = z.base64().transform((text): Uint8Array => Buffer.from(text, 'base64'));
const hash = base64.refine((bytes) => bytes.length === 32, 'it is not 32 bytes long');
const size = z
  .number()
  .int()
  .min(0)
  .max(2 ** 40);
const treeHead = z.object({
  tree_size: size,
  timestamp: z.number().int().min(0),
  sha256_root_hash: hash,
  tree_head_signature: base64,
});
const auditProof = z.object({ leaf_index: size, audit_path: z.array(hash).max(64) });
const consistency = z.object({ consistency: z.array(hash).max(64).nullable() });
const entryPage = z.object({ entries: z.array(z.object({ leaf_input: base64, extra_data: base64 })).min(1) });

/** Entries asked for at once; a log that gives fewer is asked for the rest. */
const page = 256;

/** A head in the form of get-sth (RFC 6962 Section 4.3); throws BadAnswer. The signature is not checked. */
export function parseTreeHead(bytes: Uint8Array): SignedTreeHead {
  const { tree_size, timestamp, sha256_root_hash, tree_head_signature } = parsed(bytes, treeHead, 'get-sth');
  return { size: tree_size, timestamp, root: sha256_root_hash, signature: tree_head_signature };
}

/** The inverse of `parseTreeHead`, as an object for JSON. */
export function treeHeadJson({ size: tree_size, timestamp, root, signature }: SignedTreeHead) {
  return {
    tree_size,
    timestamp,
    sha256_root_hash: Buffer.from(root).toString('base64'),
    tree_head_signature: Buffer.from(signature).toString('base64'),
  };
}

/** A log with the HTTP API of RFC 6962 Section 4. */
export function rfc6962Source(client: LogClient): LogSource {
  async function ask<T>(path: string, maxBytes: number, schema: z.ZodType<T>): Promise<T> {
    const bytes = await client.get(`ct/v1/${path}`, maxBytes);
    const [name = path] = path.split('?');
    if (bytes === undefined) throw new BadAnswer(`${name}: HTTP status 404`);
    return parsed(bytes, schema, name);
  }

  /** The entries [start, end). */
  async function entriesOf(start: number, end: number): Promise<LogEntry[]> {
    const found: LogEntry[] = [];
    while (start + found.length < end) {
      const from = start + found.length;
      const answer = await ask(`get-entries?start=${from}&end=${end - 1}`, maxEntriesBytes, entryPage);
      const entries = answer.entries.slice(0, end - from);
      entries.forEach(({ leaf_input, extra_data }, i) => {
        found.push(entryOf(leaf_input, extra_data, from + i));
      });
    }
    return found;
  }

  function* pages(from: number, end: number): Iterable<() => Promise<LogEntry[]>> {
    for (let start = from; start < end; ) {
      // Logs cut pages at multiples of their own limit, mostly a power of two: at multiples of ours none is cut twice.
      const stop = Math.min(end, (Math.floor(start / page) + 1) * page);
      const first = start;
      yield () => entriesOf(first, stop);
      start = stop;
    }
  }

  async function peaks(of: number): Promise<Peaks> {
    if (of === 0) return noPeaks;
    const [last] = await entriesOf(of - 1, of);
    if (last === undefined) throw new BadAnswer(`get-entries gives no entry ${of - 1}`);
    const query = new URLSearchParams({
      hash: Buffer.from(last.leafHash).toString('base64'),
      tree_size: String(of),
    });
    const proof = await ask(`get-proof-by-hash?${query}`, maxSmallBytes, auditProof);
    return peaksOfLastPath(of, last.leafHash, proof.audit_path);
  }

  return {
    type: 'rfc6962',
    url: client.url,
    async fetchHead() {
      const bytes = await client.get('ct/v1/get-sth', maxSmallBytes);
      if (bytes === undefined) throw new BadAnswer('get-sth: HTTP status 404');
      return bytes;
    },
    openHead(bytes, key) {
      const head = parseTreeHead(bytes);
      if (!verifyTreeHead(head, key)) throw new CheckpointError("its signature does not verify with this log's key");
      return { head, origin: undefined };
    },
    tree: (head) => ({
      entries: (from) => ahead(pages(from, head.size)),
      async consistencyProof(first, second) {
        if (first === second) return [];
        const answer = await ask(`get-sth-consistency?first=${first}&second=${second}`, maxSmallBytes, consistency);
        return answer.consistency ?? [];
      },
      peaks,
    }),
  };
}

function parsed<T>(bytes: Uint8Array, schema: z.ZodType<T>, name: string): T {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new BadAnswer(`${name}: the answer is not JSON`, { cause });
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new BadAnswer(`${name}: ${issue?.path.join('.') || 'the answer'}: ${issue?.message ?? 'not of its form'}`);
}

/**
 * The audit path of a tree's last leaf is the left part of the tree in pieces: first the siblings inside the last peak,
 * then the other peaks from right to left (RFC 6962 Section 2.1.1).
 */
export function peaksOfLastPath(of: number, leaf: Hash, path: readonly Hash[]): Peaks {
  let inside = 0;
  for (let rest = of; rest % 2 === 0; rest /= 2) inside += 1;
  const last = path.slice(0, inside).reduce((right, left) => nodeHash(left, right), leaf);
  const hashes = [...path.slice(inside).reverse(), last];
  const expected = of.toString(2).replaceAll('0', '').length;
  if (hashes.length !== expected || path.length < inside) {
    throw new BadAnswer(`the audit path of entry ${of - 1} has ${path.length} hashes`);
  }
  return { size: of, hashes };
}

function entryOf(leafInput: Uint8Array, extraData: Uint8Array, index: number): LogEntry {
  const problems: string[] = [];
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      problems.push(messageOf(error));
      return undefined;
    }
  };
  const entry = attempt(() => decodeMerkleTreeLeaf(leafInput));
  const extra = entry && attempt(() => readExtraData(entry, extraData));
  return {
    index,
    leafHash: leafHash(leafInput),
    entry,
    problem: problems.length === 0 ? undefined : problems.join('; '),
    precertificate: extra?.precertificate,
    issuer: async () => extra?.issuer,
  };
}

/** `extra_data` (RFC 6962 Section 4.6): the chain, for a precert entry with the precertificate before it. */
function readExtraData({ entry }: TimestampedEntry, extraData: Uint8Array) {
  const reader = new TlsReader(extraData, 'extra_data');
  const precertificate = entry.type === 'precert' ? reader.vector(3, 'pre_certificate') : undefined;
  const chain = new TlsReader(reader.vector(3, 'certificate_chain'), 'certificate_chain');
  reader.end();
  return { precertificate, issuer: chain.remaining === 0 ? undefined : chain.vector(3, 'certificate') };
}
