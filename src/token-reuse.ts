import { createHash } from 'node:crypto';
import { type Database, open, type RootDatabase } from 'lmdb';
import { AppError } from './errors.js';
import type { VerifiedToken } from './identity/token.js';
import { committed, lmdbOptions } from './lmdb.js';

/** What identifies a token: its issuer and `jti`, else what was signed. Its signature can be altered and still verify. */
export type TokenUse = Pick<VerifiedToken, 'issuer' | 'id' | 'signingInput' | 'expiresAtMs'>;

/** A store of used tokens that survives restarts (`--token-reuse=deny`). */
export interface TokenStore {
  /**
   * Takes the token's one use, durably and for good. Throws AppError TOKEN_REUSED, or TOKEN_STORE_FULL when no more uses
   * can be remembered.
   */
  reserve(use: TokenUse): Promise<void>;
  /** Forgets tokens that have expired; returns how many. */
  sweep(): Promise<number>;
  close(): Promise<void>;
}

export interface TokenStoreOptions {
  readonly directory: string;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Uses remembered at most; past it, requests are refused rather than uses forgotten. */
  readonly capacity?: number;
  readonly sweepIntervalMs?: number;
}

const defaultCapacity = 5_000_000;
/** Kept past `exp`, so that a clock set back a little does not revive a token. */
const graceSeconds = 600;

interface Tables {
  readonly root: RootDatabase;
  /** Token key → expiry in seconds. */
  readonly uses: Database<number, Buffer>;
  /** [expiry, token key] → true, in order of expiry. */
  readonly byExpiry: Database<boolean, [number, string]>;
}

/** Opens the store in an LMDB environment under `directory`, which one process may hold at a time. */
export function openTokenStore(options: TokenStoreOptions): TokenStore {
  const root = open({ path: options.directory, maxDbs: 2, ...lmdbOptions });
  const tables: Tables = {
    root,
    uses: root.openDB<number, Buffer>('uses', { keyEncoding: 'binary' }),
    byExpiry: root.openDB<boolean, [number, string]>('by-expiry', {}),
  };
  const capacity = options.capacity ?? defaultCapacity;
  let count = tables.uses.getCount();
  const sweep = async (): Promise<number> => {
    const removed = await forgetExpired(tables, options.clock() / 1000 - graceSeconds);
    count -= removed;
    return removed;
  };
  const timer = setInterval(() => void sweep(), options.sweepIntervalMs ?? 60_000);
  timer.unref();

  return {
    async reserve(use) {
      const key = keyOf(use);
      if (count >= capacity && (await sweep()) === 0) {
        throw new AppError('TOKEN_STORE_FULL', `${capacity} used tokens are remembered and no more fit; try later`, {
          retryAfterSeconds: 60,
        });
      }
      const expiry = Math.ceil(use.expiresAtMs / 1000);
      const fresh = await committed(
        tables.uses.ifNoExists(key, () => {
          tables.uses.put(key, expiry);
          tables.byExpiry.put([expiry, key.toString('hex')], true);
        }),
      );
      if (!fresh) {
        throw new AppError('TOKEN_REUSED', 'the token was used before; this server issues one certificate per token');
      }
      count++;
      await root.flushed;
    },
    sweep,
    async close() {
      clearInterval(timer);
      await root.close();
    },
  };
}

function keyOf(use: TokenUse): Buffer {
  const hash = createHash('sha256');
  if (use.id === undefined || use.id === '') hash.update('jws\0').update(use.signingInput);
  else hash.update('jti\0').update(JSON.stringify([use.issuer, use.id]));
  return hash.digest();
}

async function forgetExpired(tables: Tables, beforeSeconds: number): Promise<number> {
  const expired = [...tables.byExpiry.getKeys({ end: [beforeSeconds, ''], limit: 10_000 })];
  await committed(
    tables.root.transaction(() => {
      for (const [expiry, hex] of expired) {
        tables.byExpiry.remove([expiry, hex]);
        tables.uses.remove(Buffer.from(hex, 'hex'));
      }
    }),
  );
  return expired.length;
}
