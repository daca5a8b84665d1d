import type { KeyObject } from 'node:crypto';
import { AppError } from '../errors.js';
import { DiscoveryError, type IssuerKeys } from './discovery.js';
import { FetchError } from './fetcher.js';
import { quote } from './quote.js';
import { fitsAlgorithm, type SignatureAlgorithm } from './signature.js';

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
 * Uses no timers, so it needs no closing.
 */
export function createKeyCache(deps: KeyCacheDeps): KeySource {
  const { clock, times } = deps;
  let current: (IssuerKeys & { readonly fetchedAtMs: number }) | undefined;
  let failure: Failure | undefined;
  let fetching: Promise<void> | undefined;
  let askedForUnknownAtMs = Number.NEGATIVE_INFINITY;

  /** Never rejects; leaves `current` or `failure` behind. */
  function refresh(): Promise<void> {
    fetching ??= attempt().finally(() => {
      fetching = undefined;
    });
    return fetching;
  }

  async function attempt(): Promise<void> {
    try {
      const keys = await deps.fetchKeys();
      current = { ...keys, fetchedAtMs: clock() };
      failure = undefined;
      deps.onFetch?.(deps.issuer, undefined);
    } catch (cause) {
      const error = asAppError(cause, deps.issuer, times.retryMs);
      // Our own limit says nothing about the issuer, so it does not rest because of it.
      failure = { atMs: error.code === 'OVERLOADED' ? Number.NEGATIVE_INFINITY : clock(), error };
      deps.onFetch?.(deps.issuer, error);
    }
  }

  const restingAfterFailure = () => failure !== undefined && clock() - failure.atMs < times.retryMs;

  async function load(): Promise<IssuerKeys> {
    const age = current === undefined ? Number.POSITIVE_INFINITY : clock() - current.fetchedAtMs;
    if (current !== undefined && age < times.freshMs) {
      if (age >= times.refreshAheadMs && !restingAfterFailure()) void refresh();
      return current;
    }
    if (!restingAfterFailure()) {
      const usable = age < times.freshMs + times.graceMs;
      await (usable ? atMost(refresh(), times.staleWaitMs) : refresh());
    }
    if (current !== undefined && clock() - current.fetchedAtMs < times.freshMs + times.graceMs) return current;
    throw failure?.error ?? unavailable(deps.issuer, 'its keys could not be fetched', times.retryMs);
  }

  async function loadForUnknownKey(): Promise<IssuerKeys | undefined> {
    if (fetching === undefined) {
      if (clock() - askedForUnknownAtMs < times.unknownKeyIntervalMs || restingAfterFailure()) return undefined;
      askedForUnknownAtMs = clock();
    }
    await refresh();
    return current;
  }

  return {
    async find(algorithm, keyId) {
      const known = await load();
      checkAlgorithm(algorithm, known, deps.issuer);
      const found = select(known, algorithm, keyId);
      if (found.length > 0) return found;
      const renewed = await loadForUnknownKey();
      const again = renewed === undefined ? [] : select(renewed, algorithm, keyId);
      if (again.length > 0) return again;
      throw keyUnknown(renewed ?? known, algorithm, keyId, deps.issuer);
    },
    async warmUp() {
      if (current === undefined || clock() - current.fetchedAtMs >= times.freshMs) await refresh();
    },
    status() {
      const fresh = current !== undefined && clock() - current.fetchedAtMs < times.freshMs;
      const stale = current !== undefined && clock() - current.fetchedAtMs < times.freshMs + times.graceMs;
      return {
        issuer: deps.issuer,
        state: fresh ? 'fresh' : stale ? 'stale' : failure === undefined ? 'unknown' : 'failed',
        keyCount: current?.keys.length ?? 0,
        fetchedAtMs: current?.fetchedAtMs,
        failure: failure?.error.detail,
      };
    },
  };
}

/** Keys that never change and are never fetched: those of a `jwks-file`. */
export function fixedKeys(issuer: string, keys: IssuerKeys): KeySource {
  return {
    async find(algorithm, keyId) {
      checkAlgorithm(algorithm, keys, issuer);
      const found = select(keys, algorithm, keyId);
      if (found.length === 0) throw keyUnknown(keys, algorithm, keyId, issuer);
      return found;
    },
    warmUp: async () => undefined,
    status: () => ({ issuer, state: 'file', keyCount: keys.keys.length, fetchedAtMs: undefined, failure: undefined }),
  };
}

/** More than one key of one kid is legal; more than a few would make us do an attacker's arithmetic. */
const maxCandidates = 8;

function select(known: IssuerKeys, algorithm: SignatureAlgorithm, keyId: string | undefined): KeyObject[] {
  return known.keys
    .filter((key) => keyId === undefined || key.keyId === keyId)
    .filter(
      (key) =>
        (key.algorithm === undefined || sameAlgorithm(key.algorithm, algorithm)) && fitsAlgorithm(key.key, algorithm),
    )
    .slice(0, maxCandidates)
    .map(({ key }) => key);
}

const sameAlgorithm = (a: SignatureAlgorithm, b: SignatureAlgorithm): boolean =>
  a === b || (a.startsWith('Ed') && b.startsWith('Ed'));

function checkAlgorithm(algorithm: SignatureAlgorithm, known: IssuerKeys, issuer: string): void {
  if (known.algorithms.has(algorithm)) return;
  throw new AppError(
    'TOKEN_ALGORITHM_UNSUPPORTED',
    `the token's "alg" is ${algorithm}; issuer ${quote(issuer)} announces ${[...known.algorithms].join(', ')}`,
  );
}

function keyUnknown(
  known: IssuerKeys,
  algorithm: SignatureAlgorithm,
  keyId: string | undefined,
  issuer: string,
): AppError {
  if (keyId !== undefined && known.keys.some((key) => key.keyId === keyId)) {
    return new AppError('TOKEN_KEY_UNKNOWN', `key ${quote(keyId)} of issuer ${quote(issuer)} is not for ${algorithm}`);
  }
  const wanted =
    keyId === undefined ? `has no key for ${algorithm}` : `publishes no key with the "kid" ${quote(keyId)}`;
  return new AppError('TOKEN_KEY_UNKNOWN', `issuer ${quote(issuer)} ${wanted}`);
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
