import { TlsReader, TlsWriter } from '../ct/tls.js';
import { type Hash, sameHash } from './merkle.js';

/**
 * A batch as it is staged: what turns the tree of `oldSize` leaves into the one of `checkpoint`. Small on purpose; the
 * tiles are derived from it again.
 */
export interface Stage {
  readonly oldSize: number;
  readonly oldRoot: Hash;
  readonly newSize: number;
  readonly newRoot: Hash;
  /** The signed checkpoint this stage is committed by. */
  readonly checkpoint: Uint8Array;
  /** TLS bytes of the new TileLeaf structs. */
  readonly leaves: readonly Uint8Array[];
}

const version = 1;

/** A name that is unique to the tree it leads to, and sorts by size. */
export function stageName(stage: Pick<Stage, 'newSize' | 'newRoot'>): string {
  return `${String(stage.newSize).padStart(13, '0')}-${Buffer.from(stage.newRoot).toString('hex').slice(0, 16)}`;
}

export function encodeStage({ oldSize, oldRoot, newSize, newRoot, checkpoint, leaves }: Stage): Uint8Array {
  const size = leaves.reduce((sum, leaf) => sum + 4 + leaf.length, 84 + checkpoint.length);
  const writer = new TlsWriter(size).uint(version, 1).uint(oldSize, 6).bytes(oldRoot).uint(newSize, 6).bytes(newRoot);
  writer.vector(checkpoint, 3).uint(leaves.length, 4);
  for (const leaf of leaves) writer.vector(leaf, 4);
  return writer.finish();
}

/** Reads a stage back; throws TlsDecodeError for a torn one. That its leaves give `newRoot` is the caller's to check. */
export function decodeStage(bytes: Uint8Array): Stage {
  const reader = new TlsReader(bytes, 'stage');
  const found = reader.uint(1, 'version');
  if (found !== version) throw reader.error(`version ${found}; expected ${version}`);
  const oldSize = reader.uint(6, 'old size');
  const oldRoot = reader.bytes(32, 'old root');
  const newSize = reader.uint(6, 'new size');
  const newRoot = reader.bytes(32, 'new root');
  const checkpoint = reader.vector(3, 'checkpoint');
  const leaves = Array.from({ length: countOf(reader) }, () => reader.vector(4, 'leaf'));
  reader.end();
  if (newSize !== oldSize + leaves.length) {
    throw reader.error(`${leaves.length} leaves between sizes ${oldSize} and ${newSize}`);
  }
  return { oldSize, oldRoot, newSize, newRoot, checkpoint, leaves };
}

function countOf(reader: TlsReader): number {
  const count = reader.uint(4, 'leaf count');
  if (count * 4 > reader.remaining) throw reader.error(`leaf count ${count} is more than the bytes can hold`);
  return count;
}

/**
 * The stages that lead, without a gap, to the committed tree, oldest first: they were committed. All others were not,
 * or were finished long ago.
 */
export function committedStages(stages: readonly Stage[], committed: { size: number; root: Hash }): Stage[] {
  const chain: Stage[] = [];
  let at = committed;
  for (;;) {
    const previous = stages.find((stage) => stage.newSize === at.size && sameHash(stage.newRoot, at.root));
    if (previous === undefined || previous.oldSize >= previous.newSize) return chain;
    chain.unshift(previous);
    at = { size: previous.oldSize, root: previous.oldRoot };
  }
}
