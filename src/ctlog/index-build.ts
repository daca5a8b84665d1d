import { setTimeout as sleep } from 'node:timers/promises';
import type { DecodedLeaf } from './tile-leaf.js';
import type { TileReader } from './tile-reader.js';
import { tileWidth } from './tiles.js';
import type { LogLogger } from './writer.js';

export interface IndexBuild {
  readonly tiles: TileReader;
  /** Size of the tree whose entries are wanted. */
  readonly size: number;
  /** Entries that are in the index by now. */
  readonly done: () => number;
  /** Takes the next entries; durable, together with how far the index reaches, when it resolves. */
  readonly take: (leaves: readonly DecodedLeaf[], first: number) => Promise<void>;
  readonly logger: LogLogger;
  readonly signal: AbortSignal;
}

/** Entries of one transaction. Keys are hashes, so every transaction touches pages all over the index. */
const batchEntries = 64 * tileWidth;

/**
 * Adds entries to an index from the data tiles, beside a log that is serving: it works at most half of the time, so that
 * requests come through, and says every tenth how far it is. What it has taken stays when it is aborted.
 */
export async function buildIndex({ tiles, size, done, take, logger, signal }: IndexBuild): Promise<void> {
  const total = size - done();
  const say = (text: string) => logger.info({ done: done(), size }, `the index of the log is being built: ${text}`);
  say(`${total} entries are to be read; until then get-proof-by-hash answers 503 for those that are not in it yet`);
  let tenths = 0;
  while (done() < size && !signal.aborted) {
    const first = done();
    const leaves: DecodedLeaf[] = [];
    while (first + leaves.length < size && leaves.length < batchEntries && !signal.aborted) {
      const began = performance.now();
      const at = first + leaves.length;
      const tile = Math.floor(at / tileWidth);
      leaves.push(...(await tiles.leaves(size, tile)).slice(at - tile * tileWidth));
      await sleep(performance.now() - began);
    }
    await take(leaves, first);
    const reached = Math.floor(((done() - size + total) / total) * 10);
    if (reached > tenths && reached < 10) say(`${reached * 10} %`);
    tenths = reached;
  }
  if (!signal.aborted) logger.info({ size }, 'the index of the log is complete');
}
