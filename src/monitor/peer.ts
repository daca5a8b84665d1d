import type { KeyObject } from 'node:crypto';
import { openCheckpoint, type SignedTreeHead, verifyTreeHead } from '../ctlog/checkpoint.js';
import { messageOf } from '../errors.js';
import type { LogClient } from './client.js';
import { BadAnswer, type Finding, Stopped, Unavailable } from './finding.js';
import { fork, isConsistent } from './judge-head.js';
import { parseTreeHead } from './rfc6962-source.js';
import { type LogSource, maxSmallBytes } from './source.js';

/** Another view of the log: another monitor's `/head`, a copy of the checkpoint, get-sth through another network. */
export interface Peer {
  /** Full URL of a head, as JSON of get-sth or as a checkpoint. */
  readonly url: string;
  readonly client: LogClient;
}

/**
 * Compares the head of a peer with ours. Resolves with a finding when the log shows the two of us different trees, with a
 * note when nothing can be said, and with undefined when all is well. Throws Unavailable when the log does not answer.
 */
export async function comparePeer(
  peer: Peer,
  ours: SignedTreeHead,
  source: LogSource,
  logKey: KeyObject,
): Promise<Finding | string | undefined> {
  let theirs: SignedTreeHead;
  try {
    const bytes = await peer.client.get(peer.url, maxSmallBytes);
    if (bytes === undefined) return `${peer.url}: there is no head`;
    theirs = openPeerHead(bytes, logKey);
  } catch (error) {
    if (error instanceof Stopped) throw error;
    return `${peer.url}: no head to compare with: ${messageOf(error)}`;
  }
  const [first, second] = theirs.size <= ours.size ? [theirs, ours] : [ours, theirs];
  try {
    const trivial = first.size === 0 || first.size === second.size;
    const proof = trivial ? [] : await source.tree(second).consistencyProof(first.size, second.size);
    if (isConsistent(first, second, proof)) return undefined;
    const { finding } = fork(ours, theirs, proof);
    return { ...finding, kind: 'split-view', key: peer.url, found: `${finding.found}, shown to ${peer.url}` };
  } catch (error) {
    if (!(error instanceof BadAnswer) && !(error instanceof Unavailable)) throw error;
    return `${peer.url}: the log does not give the proof between its head and ours: ${error.message}`;
  }
}

/** A head of the log from elsewhere; throws what is wrong with it. */
function openPeerHead(bytes: Uint8Array, logKey: KeyObject): SignedTreeHead {
  if (bytes[0] !== 0x7b) {
    const origin = Buffer.from(bytes.subarray(0, 1024)).toString('utf8').split('\n', 1)[0] ?? '';
    return openCheckpoint(bytes, { origin, logKey });
  }
  const head = parseTreeHead(bytes);
  if (!verifyTreeHead(head, logKey)) throw new Error("it is not signed with the log's key");
  return head;
}
