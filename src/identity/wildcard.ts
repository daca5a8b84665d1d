import { AppError } from '../errors.js';
import type { IssuerKeys } from './discovery.js';
import type { KeySource, KeyStatus } from './keys.js';

/** Limits on what strangers can make us do by naming issuers that a wildcard matches; for each meta-issuer. */
export interface WildcardLimits {
  /** Issuers whose keys were fetched at least once. */
  readonly maxProven: number;
  /** Issuers that never answered well; a flood of inventions only ever displaces these. */
  readonly maxUnproven: number;
  readonly maxConcurrent: number;
  /** Discoveries of unproven issuers: at once, and per second after that. */
  readonly burst: number;
  readonly perSecond: number;
}

export const defaultWildcardLimits: WildcardLimits = {
  maxProven: 1_000,
  maxUnproven: 200,
  maxConcurrent: 16,
  burst: 100,
  perSecond: 5,
};

/** The key sources of the issuers one meta-issuer has been seen to match. */
export interface IssuerPool {
  keysOf(issuer: string): KeySource;
  /** Of proven issuers only: the others are whatever anybody invented. */
  status(): readonly KeyStatus[];
  size(): number;
}

export interface IssuerPoolDeps {
  readonly limits: WildcardLimits;
  readonly clock: () => number;
  /** A key source whose every fetch goes through `guard`. */
  readonly createKeys: (issuer: string, guard: FetchGuard) => KeySource;
}

export type FetchGuard = (fetchKeys: () => Promise<IssuerKeys>) => Promise<IssuerKeys>;

/** Bounded in memory by two least-recently-used maps, in traffic by a token bucket and a limit on concurrency. */
export function createIssuerPool(deps: IssuerPoolDeps): IssuerPool {
  const { limits } = deps;
  const proven = new Map<string, KeySource>();
  const unproven = new Map<string, KeySource>();
  const admit = createAdmission(limits, deps.clock);

  function guardOf(issuer: string): FetchGuard {
    return async (fetchKeys) => {
      if (proven.has(issuer)) return fetchKeys();
      const release = admit();
      try {
        const keys = await fetchKeys();
        const source = unproven.get(issuer);
        unproven.delete(issuer);
        if (source !== undefined) touch(proven, issuer, source, limits.maxProven);
        return keys;
      } finally {
        release();
      }
    };
  }

  return {
    keysOf(issuer) {
      const known = proven.get(issuer);
      if (known !== undefined) return touch(proven, issuer, known, limits.maxProven);
      const keys = unproven.get(issuer) ?? deps.createKeys(issuer, guardOf(issuer));
      return touch(unproven, issuer, keys, limits.maxUnproven);
    },
    status: () => [...proven.values()].map((keys) => keys.status()),
    size: () => proven.size + unproven.size,
  };
}

/** Puts an entry at the young end and drops the oldest beyond `max`: a Map keeps its order of insertion. */
function touch<T>(map: Map<string, T>, key: string, value: T, max: number): T {
  map.delete(key);
  map.set(key, value);
  const oldest = map.keys().next();
  if (map.size > max && oldest.done !== true) map.delete(oldest.value);
  return value;
}

/** A token bucket with a limit on what runs at once; returns what to call at the end, throws AppError OVERLOADED. */
function createAdmission(limits: WildcardLimits, clock: () => number): () => () => void {
  let tokens = limits.burst;
  let filledAtMs = clock();
  let running = 0;
  return () => {
    const now = clock();
    tokens = Math.min(limits.burst, tokens + (Math.max(0, now - filledAtMs) / 1000) * limits.perSecond);
    filledAtMs = now;
    if (tokens < 1 || running >= limits.maxConcurrent) throw tooMany();
    tokens -= 1;
    running += 1;
    return () => {
      running -= 1;
    };
  };
}

function tooMany(): AppError {
  return new AppError(
    'OVERLOADED',
    'too many issuers that were not seen before are being looked up; try again shortly',
    {
      retryAfterSeconds: 2,
    },
  );
}

const star = '[-_a-zA-Z0-9]+';

/**
 * The URLs a meta-issuer's pattern stands for: each `*` is one or more of `[-_a-zA-Z0-9]`, so never a dot or a slash,
 * and the whole URL must match (an unanchored match was CVE-2026-22772).
 */
export function patternOf(pattern: string): RegExp {
  const literals = pattern.split('*').map((literal) => literal.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&'));
  return new RegExp(`^${literals.join(star)}$`);
}

/** Order of patterns, most specific first: fewer stars, then more literal characters, then by text. */
export function bySpecificity(a: string, b: string): number {
  const stars = (text: string) => text.split('*').length;
  return stars(a) - stars(b) || b.length - a.length || (a < b ? -1 : 1);
}
