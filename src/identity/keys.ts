import type { KeyObject } from 'node:crypto';
import { AppError } from '../errors.js';
import { DiscoveryError, type IssuerKeys } from './discovery.js';
import { FetchError } from './fetch-error.js';
import { checkAlgorithm, keyUnknown, selectKeys } from './key-selection.js';
import { quote } from './quote.js';
import type { SignatureAlgorithm } from './signature.js';

/** What an operator wants to know about an issuer's keys; for readiness, metrics and `check config`. */
export interface KeyStatus {
  readonly issuer: string;
  /** `unknown`: never asked. `stale`: past their time, still used within the grace. */
  readonly state: 'unknown' | 'fresh' | 'stale' | 'failed' | 'file';
  readonly keyCount: number;
  readonly fetchedAtMs: number | undefined;
  /** Why the last attempt failed; undefined if it did not. */
  readonly failure: string | undefined;
}

/** Where the public keys of one issuer come from. */
export interface KeySource {
  /**
   * The keys a token's signature may be checked with, at most a few. Throws AppError TOKEN_ALGORITHM_UNSUPPORTED,
   * TOKEN_KEY_UNKNOWN, ISSUER_UNAVAILABLE or ISSUER_MISCONFIGURED.
   */
  find(algorithm: SignatureAlgorithm, keyId: string | undefined): Promise<readonly KeyObject[]>;
  /** Fetches the keys unless they are there. Never throws: look at `status`. */
  warmUp(): Promise<void>;
  status(): KeyStatus;
}

export interface KeyTimes {
  /** Keys younger than this are used without a question. */
  readonly freshMs: number;
  /** From this age on they are fetched again in the background, so that a busy issuer's keys never grow stale. */
  readonly refreshAheadMs: number;
  /** Keys this much older than `freshMs` are still used while the issuer does not answer. */
  readonly graceMs: number;
  /** How long a request waits for fresh keys when it could use stale ones. */
  readonly staleWaitMs: number;
  /** A `kid` that is not among the keys makes us ask again, at most once in this time. */
  readonly unknownKeyIntervalMs: number;
  /** After a failure the issuer is left alone for this long. */
  readonly retryMs: number;
}

export const defaultKeyTimes: KeyTimes = {
  freshMs: 10 * 60_000,
  refreshAheadMs: 5 * 60_000,
  graceMs: 60 * 60_000,
  staleWaitMs: 500,
  unknownKeyIntervalMs: 30_000,
  retryMs: 10_000,
};

export interface KeyCacheDeps {
  readonly issuer: string;
  /** Throws FetchError, DiscoveryError, or AppError where the fetch was not even allowed to start. */
  readonly fetchKeys: () => Promise<IssuerKeys>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly times: KeyTimes;
  /** Told of each attempt; `error` is undefined for a success. */
  readonly onFetch?: (issuer: string, error: AppError | undefined) => void;
}

interface Failure {
  readonly atMs: number;
  readonly error: AppError;
}

/**
 * The keys of one issuer, fetched when first needed and kept with time limits (`KeyTimes`). One fetch at a time however
 * many requests wait for it; a failure is remembered for `retryMs`; keys outlive an issuer that is down by `graceMs`.
 * Uses no timers of its own, so it needs no closing.
 */
export function createKeyCache(deps: KeyCacheDeps): KeySource {
  return new KeyCache(deps);
}

class KeyCache implements KeySource {
  readonly #deps: KeyCacheDeps;
  #current: (IssuerKeys & { readonly fetchedAtMs: number }) | undefined;
  #failure: Failure | undefined;
  #fetching: Promise<void> | undefined;
  #fetchingSinceMs = 0;
  #askedForUnknownAtMs = Number.NEGATIVE_INFINITY;

  constructor(deps: KeyCacheDeps) {
    this.#deps = deps;
  }

  async find(algorithm: SignatureAlgorithm, keyId: string | undefined): Promise<readonly KeyObject[]> {
    const known = await this.#load();
    checkAlgorithm(algorithm, known, this.#deps.issuer);
    const found = selectKeys(known, algorithm, keyId);
    if (found.length > 0) return found;
    const renewed = await this.#loadForUnknownKey();
    const again = renewed === undefined ? [] : selectKeys(renewed, algorithm, keyId);
    if (again.length > 0) return again;
    throw keyUnknown(renewed ?? known, algorithm, keyId, this.#deps.issuer);
  }

  async warmUp(): Promise<void> {
    if (this.#ageMs() >= this.#deps.times.freshMs) await this.#refresh();
  }

  status(): KeyStatus {
    return {
      issuer: this.#deps.issuer,
      state: this.#state(),
      keyCount: this.#current?.keys.length ?? 0,
      fetchedAtMs: this.#current?.fetchedAtMs,
      failure: this.#failure?.error.detail,
    };
  }

  #state(): KeyStatus['state'] {
    const { freshMs, graceMs } = this.#deps.times;
    if (this.#ageMs() < freshMs) return 'fresh';
    if (this.#ageMs() < freshMs + graceMs) return 'stale';
    return this.#failure === undefined ? 'unknown' : 'failed';
  }

  /** Infinite when there are no keys. */
  #ageMs(): number {
    return this.#current === undefined ? Number.POSITIVE_INFINITY : this.#deps.clock() - this.#current.fetchedAtMs;
  }

  #restingAfterFailure(): boolean {
    return this.#failure !== undefined && this.#deps.clock() - this.#failure.atMs < this.#deps.times.retryMs;
  }

  async #load(): Promise<IssuerKeys> {
    const { issuer, times } = this.#deps;
    const ageMs = this.#ageMs();
    if (this.#current !== undefined && ageMs < times.freshMs) {
      if (ageMs >= times.refreshAheadMs && !this.#restingAfterFailure()) void this.#refresh();
      return this.#current;
    }
    const usableMs = times.freshMs + times.graceMs;
    if (!this.#restingAfterFailure()) {
      await (ageMs < usableMs ? this.#refreshBriefly() : this.#refresh());
    }
    if (this.#current !== undefined && this.#ageMs() < usableMs) return this.#current;
    throw this.#failure?.error ?? unavailable(issuer, 'its keys could not be fetched', times.retryMs);
  }

  /** Counted from the start of the fetch: of an issuer that hangs, only the first requests notice. */
  #refreshBriefly(): Promise<void> {
    const refreshed = this.#refresh();
    const waitedMs = this.#deps.clock() - this.#fetchingSinceMs;
    return atMost(refreshed, Math.max(0, this.#deps.times.staleWaitMs - waitedMs));
  }

  /** Undefined when it was asked too recently. */
  async #loadForUnknownKey(): Promise<IssuerKeys | undefined> {
    if (this.#fetching === undefined) {
      const now = this.#deps.clock();
      const tooSoon = now - this.#askedForUnknownAtMs < this.#deps.times.unknownKeyIntervalMs;
      if (tooSoon || this.#restingAfterFailure()) return undefined;
      this.#askedForUnknownAtMs = now;
    }
    await this.#refresh();
    return this.#current;
  }

  /** Never rejects; leaves `#current` or `#failure` behind. */
  #refresh(): Promise<void> {
    if (this.#fetching !== undefined) return this.#fetching;
    this.#fetchingSinceMs = this.#deps.clock();
    this.#fetching = this.#attempt().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #attempt(): Promise<void> {
    const { issuer, clock, times, onFetch } = this.#deps;
    try {
      this.#current = { ...(await this.#deps.fetchKeys()), fetchedAtMs: clock() };
      this.#failure = undefined;
      onFetch?.(issuer, undefined);
    } catch (cause) {
      const error = asAppError(cause, issuer, times.retryMs);
      // Our own limit says nothing about the issuer, so it does not rest because of it.
      this.#failure = { atMs: error.code === 'OVERLOADED' ? Number.NEGATIVE_INFINITY : clock(), error };
      onFetch?.(issuer, error);
    }
  }
}

/** Keys that never change and are never fetched: those of a `jwks-file`. */
export function fixedKeys(issuer: string, keys: IssuerKeys): KeySource {
  return {
    async find(algorithm, keyId) {
      checkAlgorithm(algorithm, keys, issuer);
      const found = selectKeys(keys, algorithm, keyId);
      if (found.length === 0) throw keyUnknown(keys, algorithm, keyId, issuer);
      return found;
    },
    warmUp: async () => undefined,
    status: () => ({ issuer, state: 'file', keyCount: keys.keys.length, fetchedAtMs: undefined, failure: undefined }),
  };
}

async function atMost(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, timeout]).finally(() => clearTimeout(timer));
}

function unavailable(issuer: string, reason: string, retryMs: number, cause?: unknown): AppError {
  return new AppError('ISSUER_UNAVAILABLE', `the keys of issuer ${quote(issuer)} cannot be fetched: ${reason}`, {
    cause,
    retryAfterSeconds: Math.ceil(retryMs / 1000),
  });
}

function asAppError(error: unknown, issuer: string, retryMs: number): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof DiscoveryError || (error instanceof FetchError && !error.temporary)) {
    return new AppError(
      'ISSUER_MISCONFIGURED',
      `the keys of issuer ${quote(issuer)} cannot be used: ${error.message}`,
      {
        cause: error,
      },
    );
  }
  return unavailable(issuer, error instanceof FetchError ? error.message : 'it could not be reached', retryMs, error);
}
