import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { encodeMerkleTreeLeaf, encodeTimestampedEntry } from '../ct/leaf.js';
import { decodeLeafIndex } from '../ct/leaf-index.js';
import { type SignedTreeHead, verifyTreeHead } from '../ctlog/checkpoint.js';
import { leafHash, verifyInclusion } from '../ctlog/merkle.js';
import { messageOf } from '../errors.js';
import { apiUrl, fetchText } from './request-api.js';
import type { CertificateCheck, LoggedPrecert } from './verify-certificate.js';

/** How to read a log: RFC 6962 endpoints below `url`. */
export interface LogReader {
  readonly url: string;
  readonly fetch: typeof fetch;
  readonly sleep: (ms: number) => Promise<void>;
}

const base64 = z.base64().transform((text): Uint8Array => Buffer.from(text, 'base64'));
const size = z
  .number()
  .int()
  .min(0)
  .max(2 ** 40);
const treeHead = z.object({
  tree_size: size,
  timestamp: z.number().int().min(0),
  sha256_root_hash: base64,
  tree_head_signature: base64,
});
const auditProof = z.object({ leaf_index: size, audit_path: z.array(base64).max(64) });

/** A log that answers with an SCT at once may publish its tree head a moment later. */
const attempts = 20;
const pauseMs = 250;

/**
 * Asks the log for its tree head and for the proof that the certificate is in the tree (RFC 6962 Sections 4.3 and 4.5),
 * and verifies both. Skipped when no log answers at the URL or the entry is not merged yet, which an SCT allows.
 */
export async function checkInclusion(logged: LoggedPrecert, log: LogReader): Promise<CertificateCheck> {
  const name = 'inclusion';
  try {
    return { name, ...(await inclusionOf(logged, log)) };
  } catch (error) {
    return { name, status: 'failed', detail: messageOf(error) };
  }
}

type Outcome = Pick<CertificateCheck, 'status' | 'detail'>;

async function inclusionOf({ sct, precert, logKey }: LoggedPrecert, log: LogReader): Promise<Outcome> {
  const promised = decodeLeafIndex(sct.extensions);
  const head = await treeHeadCovering(promised, logKey, log);
  if (head === undefined) return { status: 'skipped', detail: `no RFC 6962 log answers at ${log.url}` };
  if (promised !== undefined && head.size <= promised) {
    return {
      status: 'skipped',
      detail: `the log's tree has ${head.size} entries and does not reach entry ${promised} yet`,
    };
  }
  const entry = { type: 'precert', tbs: precert.tbs, issuerKeyHash: precert.issuerKeyHash } as const;
  const timestamped = encodeTimestampedEntry({ timestamp: sct.timestamp, entry, extensions: sct.extensions });
  const hash = leafHash(encodeMerkleTreeLeaf(timestamped));
  const proof = await fetchProof(hash, head.size, log);
  if (proof === undefined) {
    if (promised === undefined) return { status: 'skipped', detail: 'the log has not merged the entry yet' };
    return { status: 'failed', detail: `the log promised entry ${promised} and does not have it` };
  }
  const index = proof.leaf_index;
  if (promised !== undefined && promised !== index) {
    return { status: 'failed', detail: `the SCT promises entry ${promised}; the log has it as entry ${index}` };
  }
  if (!verifyInclusion(index, head.size, hash, proof.audit_path, head.root)) {
    return { status: 'failed', detail: `the log's proof for entry ${index} does not lead to its signed root hash` };
  }
  return { status: 'passed', detail: `entry ${index} of the log's signed tree of ${head.size}` };
}

/** The newest tree head, asked for again while it does not reach the promised entry; undefined when there is no log. */
async function treeHeadCovering(
  index: number | undefined,
  logKey: KeyObject,
  log: LogReader,
): Promise<SignedTreeHead | undefined> {
  for (let attempt = 1; ; attempt++) {
    const text = await fetchText(apiUrl(log.url, 'ct/v1/get-sth'), log.fetch).catch(() => undefined);
    if (text === undefined) return undefined;
    const head = parseTreeHead(text);
    if (!verifyTreeHead(head, logKey)) throw new Error("the log's tree head is not signed by the key of the SCT");
    if (index === undefined || head.size > index || attempt === attempts) return head;
    await log.sleep(pauseMs);
  }
}

function parseTreeHead(text: string): SignedTreeHead {
  const parsed = treeHead.safeParse(parseJson(text));
  if (!parsed.success) throw new Error("the log's answer to get-sth is not a tree head");
  const { tree_size, timestamp, sha256_root_hash, tree_head_signature } = parsed.data;
  return { size: tree_size, timestamp, root: sha256_root_hash, signature: tree_head_signature };
}

async function fetchProof(
  hash: Uint8Array,
  treeSize: number,
  log: LogReader,
): Promise<z.infer<typeof auditProof> | undefined> {
  const url = apiUrl(log.url, 'ct/v1/get-proof-by-hash');
  url.searchParams.set('hash', Buffer.from(hash).toString('base64'));
  url.searchParams.set('tree_size', String(treeSize));
  const text = await fetchText(url, log.fetch);
  if (text === undefined) return undefined;
  const parsed = auditProof.safeParse(parseJson(text));
  if (!parsed.success) throw new Error("the log's answer to get-proof-by-hash is not a proof");
  return parsed.data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
