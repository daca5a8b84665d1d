import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import { AppError } from '../errors.js';

/** So many requests within a window of time. */
export interface Rate {
  readonly points: number;
  /** Whole seconds. */
  readonly windowSeconds: number;
}

/** How far one limit is used up for the one who asks: what the RateLimit header fields say. */
export interface QuotaState extends Rate {
  /** Which limit: `identity`, `issuer` or `address`. */
  readonly name: string;
  /** Requests left in the window. */
  readonly remaining: number;
  /** Seconds until the window ends, at least 1. */
  readonly resetSeconds: number;
}

/** Told how each limit stands, before a request that is over one is refused. */
export type OnQuota = (state: QuotaState) => void;

/** One limit, counted for each key by itself. */
export interface Quota {
  /** Counts one request of `key` and resolves with how the limit stands; throws AppError QUOTA_EXCEEDED past it. */
  take(key: string, tell?: OnQuota): Promise<void>;
  /** Keys that are being counted. */
  size(): number;
}

export interface QuotaOptions extends Rate {
  readonly name: string;
  /** For the message: of what there were too many, such as "certificates for this identity". */
  readonly of: string;
  /** Keys that are counted at once. Beyond it the one whose window began first is forgotten. */
  readonly maxKeys: number;
  /** A clock that never jumps, in milliseconds. */
  readonly now: () => number;
}

/**
 * A fixed window for each key, in the memory of this process. The window ends by a timer at the latest, so a wall clock that
 * is set back neither lengthens it nor makes a client wait longer than it.
 */
export function createQuota({ name, of, points, windowSeconds, maxKeys, now }: QuotaOptions): Quota {
  const limiter = new RateLimiterMemory({ points, duration: windowSeconds, keyPrefix: '' });
  const windowMs = windowSeconds * 1000;
  /** When the window of each key began, the oldest first. The library itself keeps as many keys as come. */
  const begun = new Map<string, number>();

  function remember(key: string): void {
    begun.delete(key);
    begun.set(key, now());
    for (const [oldest, at] of begun) {
      if (begun.size <= maxKeys && now() - at < windowMs) break;
      begun.delete(oldest);
      void limiter.delete(oldest);
    }
  }

  return {
    size: () => begun.size,
    async take(key, tell) {
      const { result, allowed } = await consume(limiter, key);
      if (result.isFirstInDuration) remember(key);
      const resetSeconds = Math.max(1, Math.ceil(Math.min(result.msBeforeNext, windowMs) / 1000));
      tell?.({ name, points, windowSeconds, remaining: result.remainingPoints, resetSeconds });
      if (allowed) return;
      const limit = `more than ${points} ${of} within ${windowSeconds} s`;
      throw new AppError('QUOTA_EXCEEDED', `${limit}; try again in ${resetSeconds} s`, {
        retryAfterSeconds: resetSeconds,
      });
    },
  };
}

/** The library rejects with its result, which is no error, when a key is over its limit. */
async function consume(limiter: RateLimiterMemory, key: string) {
  try {
    return { result: await limiter.consume(key), allowed: true };
  } catch (refused) {
    if (typeof refused !== 'object' || refused === null || !('msBeforeNext' in refused)) throw refused;
    return { result: refused as RateLimiterRes, allowed: false };
  }
}
