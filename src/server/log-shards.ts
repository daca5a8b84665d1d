import type { KeyObject } from 'node:crypto';
import { Router } from 'express';
import type { LogStorageSettings } from '../config/serve.js';
import type { Readiness } from '../ct/log.js';
import { type EmbeddedLog, type EmbeddedLogOptions, openEmbeddedLog } from '../ctlog/log.js';
import { requireMoved } from '../ctlog/moved.js';
import { settleRotation } from '../ctlog/rotate.js';
import { ctlogRoutes, type LogRouter } from '../ctlog/routes.js';
import { s3Name } from '../ctlog/s3-address.js';
import { placeOf, readShards, refuseFrozen, type ShardBase } from '../ctlog/shards.js';
import { openFrozenLog } from '../ctlog/shards-frozen.js';
import type { WitnessedStorage } from '../ctlog/witness.js';
import { AppError } from '../errors.js';
import { openLogStorage, storeAddress } from './log-storage.js';
import type { PublishedLog } from './trust.js';

/** Where logs of our own have an entry. */
export interface EntrySearch {
  readonly found: readonly { readonly logId: Uint8Array; readonly index: number }[];
  /** Whether it is nowhere else: no log was left out that may have it. */
  readonly complete: boolean;
}

/** The log in use, and the frozen ones before it. */
export interface ShardedLog {
  /** Closing it closes the frozen ones too. */
  readonly log: EmbeddedLog;
  /** Every log that is served here by its path below the public URL, such as `/ctlog`. */
  readonly routes: ReadonlyMap<string, Router>;
  /** The same logs for the page, by name, such as `ctlog`: the one in use first, then the frozen ones, newest first. */
  readonly readable: ReadonlyMap<string, EmbeddedLog>;
  readonly published: PublishedLog;
  /** Looks an entry up by its dedupeKey, in the frozen logs too. */
  findEntry(key: Uint8Array): EntrySearch;
  /** The frozen ones, newest first. */
  readonly former: readonly PublishedLog[];
}

export interface ShardedLogOptions
  extends ShardBase,
    Pick<EmbeddedLogOptions, 'acceptedIssuers' | 'acceptedRoots' | 'clock' | 'logger' | 'commits' | 'underWay'> {
  readonly logStorage: LogStorageSettings;
  /** The key in keys/ctlog/key.pem. */
  readonly logKey: KeyObject;
  /** Told how each question to a witness ended. */
  readonly onWitness?: (witness: string, result: string) => void;
}

/** Opens the log that this instance writes and the frozen ones for readers; throws AppError STARTUP. */
export async function openShardedLog(options: ShardedLogOptions): Promise<ShardedLog> {
  const { acceptedIssuers, acceptedRoots, clock, logger, dataDir, logStorage } = options;
  const key = await settleRotation(options, options.logKey);
  const { frozen, current } = await readShards(dataDir);
  const place = placeOf(current.name, options);
  const { directory, origin, number } = place;
  if (logStorage.objects !== undefined) requireMoved(directory, s3Name(storeAddress(logStorage.objects, number)));
  const { onWitness } = options;
  const deps = { directory, origin, number, key, clock, logger };
  const opened = await openLogStorage(logStorage, onWitness === undefined ? deps : { ...deps, onWitness });
  const { storage, trouble, witnessed } = opened;
  const log = await openEmbeddedLog({
    storage,
    indexDir: place.indexDir,
    key,
    origin,
    acceptedIssuers,
    ...(acceptedRoots === undefined ? {} : { acceptedRoots }),
    clock,
    logger,
    commits: options.commits,
    ...(options.underWay === undefined ? {} : { underWay: options.underWay }),
  });
  const open: EmbeddedLog[] = [log];
  const close = async (): Promise<void> => {
    for (const one of open) await one.close();
  };
  try {
    // A rotation may have run between the reading of its list and our lock.
    await refuseFrozen(place.directory);
    const routes = new Map([[place.path, routesOf(log, witnessed)]]);
    const older: [string, EmbeddedLog][] = [];
    for (const shard of frozen) {
      const at = placeOf(shard.name, options);
      const old = await openFrozenLog(shard, at, logger);
      if (old === undefined) continue;
      open.push(old);
      routes.set(at.path, ctlogRoutes(old));
      older.unshift([shard.name, old]);
    }
    const former = frozen.map((shard) => ({
      url: placeOf(shard.name, options).url,
      publicKey: shard.publicKey,
      ...startOf(shard.createdAt),
      end: new Date(shard.lastSct ?? shard.frozenAt),
    }));
    const published = { url: place.url, publicKey: log.publicKey, ...startOf(current.createdAt) };
    const readiness = (): Readiness => {
      const reason = trouble();
      return reason === undefined ? log.readiness() : { ok: false, reason };
    };
    const complete = open.length === frozen.length + 1;
    const findEntry = (key: Uint8Array): EntrySearch => {
      const found = open.flatMap(({ logId, find }) => {
        const index = find(key);
        return index === undefined ? [] : [{ logId, index }];
      });
      return { found, complete };
    };
    const readable = new Map([[current.name, log], ...older]);
    return { log: { ...log, readiness, close }, routes, readable, published, findEntry, former: former.reverse() };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Beside the log's own endpoints, the newest checkpoint of a quorum: under load the newest of all is younger. */
function routesOf(log: EmbeddedLog, witnessed: WitnessedStorage | undefined): LogRouter {
  const routes = ctlogRoutes(log);
  if (witnessed === undefined) return routes;
  const router = Router({ caseSensitive: true, strict: true });
  router.get('/checkpoint.witnessed', (_request, response) => {
    const found = witnessed.witnessed();
    if (found === undefined) throw new AppError('NOT_FOUND', 'no quorum of witnesses has cosigned yet');
    response.setHeader('Content-Type', 'text/plain; charset=utf-8');
    response.setHeader('Cache-Control', 'no-cache');
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.end(found.checkpoint);
  });
  return Object.assign(router.use(routes), { cachedTile: routes.cachedTile });
}

function startOf(createdAt: number | undefined): { start?: Date } {
  return createdAt === undefined ? {} : { start: new Date(createdAt) };
}
