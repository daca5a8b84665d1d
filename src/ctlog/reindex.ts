import type { KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '../errors.js';
import { dedupeKey } from './candidate.js';
import { openDirectoryStorage } from './directory-storage.js';
import { IndexCache } from './index-cache.js';
import { identityOf, recover } from './recovery.js';
import { settleRotation } from './rotate.js';
import { placeOf, readShards, type ShardBase } from './shards.js';
import { openTileReader } from './tile-reader.js';
import { tileWidth } from './tiles.js';

export interface ReindexOptions extends ShardBase {
  /** Private key in keys/ctlog/key.pem. */
  readonly logKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly progress: (entries: number, total: number) => void;
}

export interface Reindexed {
  /** Of the index. */
  readonly directory: string;
  readonly entries: number;
}

/**
 * Deletes the index of the log in use and builds it again from the tiles, after recovering the log as a start would.
 * Throws AppError STARTUP when there is no log, it is damaged, or a server has it open.
 */
export async function reindexLog(options: ReindexOptions): Promise<Reindexed> {
  const key = await settleRotation(options, options.logKey);
  const { current } = await readShards(options.dataDir);
  const { directory, indexDir, origin } = placeOf(current.name, options);
  if (!existsSync(join(directory, '.writer'))) throw new AppError('STARTUP', `there is no log in ${directory}`);
  const storage = openDirectoryStorage(directory);
  try {
    const identity = identityOf(origin, key);
    const { head } = await recover(storage, identity, options.clock());
    await rm(indexDir, { recursive: true, force: true });
    const tiles = openTileReader(storage);
    const counted = {
      ...tiles,
      async leaves(size: number, tile: number) {
        const leaves = await tiles.leaves(size, tile);
        options.progress(tile * tileWidth + leaves.length, size);
        return leaves;
      },
    };
    const failure: { error?: unknown } = {};
    const index = await IndexCache.open(
      {
        directory: indexDir,
        logId: identity.logId,
        logger: { info() {}, warn() {}, error() {} },
        keyOf: ({ timestampedEntry }) => dedupeKey(timestampedEntry.entry),
        failed: (error) => {
          failure.error = error;
        },
      },
      head.size,
      counted,
    );
    await index.complete();
    await index.close();
    if (failure.error !== undefined) throw failure.error;
    return { directory: indexDir, entries: index.size };
  } finally {
    await storage.close();
  }
}
