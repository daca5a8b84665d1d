import { readFileSync } from 'node:fs';
import type { IdentityConfig } from '../config/identity.js';
import type { IssuerConfig, IssuerTypeName } from '../config/identity-types.js';
import { AppError, messageOf } from '../errors.js';
import { type DiscoveryTarget, discover } from './discovery.js';
import type { Fetcher, FetchPolicy } from './fetcher.js';
import {
  defaultInClusterFiles,
  type InClusterFiles,
  inClusterKeysUrl,
  inClusterPolicy,
  isInClusterIssuer,
} from './in-cluster.js';
import type { Issuer } from './issuer.js';
import { issuerTypes } from './issuer-types.js';
import { parseJwks } from './jwks.js';
import { createKeyCache, defaultKeyTimes, fixedKeys, type KeySource, type KeyStatus, type KeyTimes } from './keys.js';
import { quote } from './quote.js';
import { isSignatureAlgorithm, signatureAlgorithms } from './signature.js';
import {
  bySpecificity,
  createIssuerPool,
  defaultWildcardLimits,
  type FetchGuard,
  type IssuerPool,
  patternOf,
  type WildcardLimits,
} from './wildcard.js';

/** One issuer as /api/v2/configuration tells it. */
export interface ListedIssuer {
  /** The issuer URL, or the pattern of a meta-issuer. */
  readonly url: string;
  readonly wildcard: boolean;
  readonly audience: string;
  readonly challengeClaim: string;
  readonly spiffeTrustDomain: string;
  readonly issuerType: IssuerTypeName;
  readonly subjectDomain: string;
  readonly skipEmailVerification: boolean;
}

/**
 * The identity configuration in force: an immutable snapshot that the server swaps as a whole. A request takes one and
 * finishes with it.
 */
export interface Issuers {
  readonly config: IdentityConfig;
  /** The issuer of a token by its `iss`: exact first, then the most specific wildcard. Throws AppError ISSUER_UNKNOWN. */
  match(iss: string): Issuer;
  /** In Fulcio's order: by URL, wildcards among the others. */
  list(): readonly ListedIssuer[];
  /** Of named issuers, and of wildcard ones that were seen and answered. */
  status(): readonly KeyStatus[];
  /** Asks every named issuer for its keys, all at once; never throws: look at `status`. */
  warmUp(): Promise<void>;
  /** Caches by settings, for the next snapshot to take over. */
  readonly caches: IssuerCaches;
}

export interface IssuerCaches {
  readonly keys: ReadonlyMap<string, KeySource>;
  readonly pools: ReadonlyMap<string, IssuerPool>;
}

export interface IssuersDeps {
  readonly fetcher: Fetcher;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Lets every wildcard issuer resolve to private and loopback addresses (`--allow-private-issuers`). */
  readonly allowPrivateIssuers?: boolean;
  readonly keyTimes?: Partial<KeyTimes>;
  readonly wildcardLimits?: Partial<WildcardLimits>;
  readonly inClusterFiles?: InClusterFiles;
  readonly readTextFile?: (path: string) => string;
  /** Told of each attempt to fetch keys, for logs and metrics. */
  readonly onFetch?: (issuer: string, error: AppError | undefined) => void;
}

/** No issuer URL in use comes near; it bounds the work of matching. */
const maxIssuerChars = 2_048;

/**
 * Makes a snapshot from a configuration. Fetches nothing; reads `jwks-file`s and throws AppError STARTUP if one cannot
 * be used. Key caches of `previous` live on for issuers whose settings are the same.
 */
export function createIssuers(config: IdentityConfig, deps: IssuersDeps, previous?: Issuers): Issuers {
  const keys = new Map<string, KeySource>();
  const pools = new Map<string, IssuerPool>();
  const named = new Map<string, Issuer>();
  for (const issuer of config.issuers) {
    const id = settingsOf(issuer, deps);
    const source = keySource(issuer, deps, previous?.caches.keys.get(id));
    keys.set(id, source);
    named.set(issuer.url, { url: issuer.url, config: issuer, keys: source });
  }
  const wildcards = [...config.metaIssuers]
    .sort((a, b) => bySpecificity(a.url, b.url))
    .map((issuer) => {
      const id = settingsOf(issuer, deps);
      const pool = previous?.caches.pools.get(id) ?? createPool(issuer, deps);
      pools.set(id, pool);
      return { config: issuer, pattern: patternOf(issuer.url), pool };
    });
  const matchWildcard = (iss: string): Issuer | undefined => {
    if (iss.length > maxIssuerChars) return undefined;
    const wildcard = wildcards.find(({ pattern }) => pattern.test(iss));
    return wildcard && { url: iss, config: wildcard.config, keys: wildcard.pool.keysOf(iss) };
  };
  const listed = listIssuers(config);
  return Object.freeze({
    config,
    match: (iss: string) => named.get(iss) ?? matchWildcard(iss) ?? unknownIssuer(iss, named),
    list: () => listed,
    status: () => [
      ...[...named.values()].map((issuer) => issuer.keys.status()),
      ...wildcards.flatMap(({ pool }) => pool.status()),
    ],
    warmUp: async () => {
      await Promise.all([...named.values()].map((issuer) => issuer.keys.warmUp()));
    },
    caches: { keys, pools },
  });
}

/** Everything that decides where keys come from; equal settings may share a cache across snapshots. */
function settingsOf(issuer: IssuerConfig, deps: IssuersDeps): string {
  return JSON.stringify([issuer.url, issuer.wildcard, issuer.caCert, issuer.jwksFile, networkOf(issuer, deps)]);
}

function networkOf(issuer: IssuerConfig, deps: IssuersDeps): FetchPolicy['network'] {
  if (!issuer.wildcard) return 'any';
  return issuer.allowPrivateNetwork || deps.allowPrivateIssuers === true ? 'public-or-private' : 'public';
}

function keySource(issuer: IssuerConfig, deps: IssuersDeps, carried: KeySource | undefined): KeySource {
  // The file may have changed although its name did not, so its keys are never carried over.
  if (issuer.jwksFile !== undefined) return fileKeys(issuer.url, issuer.jwksFile, deps);
  return carried ?? fetchedKeys(issuer, issuer.url, deps, (fetchKeys) => fetchKeys());
}

function createPool(issuer: IssuerConfig, deps: IssuersDeps): IssuerPool {
  return createIssuerPool({
    limits: { ...defaultWildcardLimits, ...deps.wildcardLimits },
    clock: deps.clock,
    createKeys: (url, guard) => fetchedKeys(issuer, url, deps, guard),
  });
}

function fetchedKeys(issuer: IssuerConfig, url: string, deps: IssuersDeps, guard: FetchGuard): KeySource {
  return createKeyCache({
    issuer: url,
    fetchKeys: () => guard(() => discover(targetOf(issuer, url, deps), deps.fetcher)),
    clock: deps.clock,
    times: { ...defaultKeyTimes, ...deps.keyTimes },
    ...(deps.onFetch === undefined ? {} : { onFetch: deps.onFetch }),
  });
}

function targetOf(issuer: IssuerConfig, url: string, deps: IssuersDeps): DiscoveryTarget {
  const policy: FetchPolicy = { network: networkOf(issuer, deps), caCert: issuer.caCert };
  if (issuer.wildcard || !isInClusterIssuer(url)) return { issuer: url, policy };
  return {
    issuer: url,
    policy: inClusterPolicy(policy, deps.inClusterFiles ?? defaultInClusterFiles, readerOf(deps)),
    keysUrl: (jwksUri) => inClusterKeysUrl(url, jwksUri),
  };
}

const readerOf = (deps: IssuersDeps) => deps.readTextFile ?? ((path: string) => readFileSync(path, 'utf8'));

function fileKeys(issuer: string, file: string, deps: IssuersDeps): KeySource {
  const algorithms = new Set(Object.keys(signatureAlgorithms).filter(isSignatureAlgorithm));
  try {
    return fixedKeys(issuer, { keys: parseJwks(readerOf(deps)(file)).keys, algorithms });
  } catch (error) {
    throw new AppError('STARTUP', `${file}: the jwks-file of issuer ${issuer} cannot be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function unknownIssuer(iss: string, named: ReadonlyMap<string, Issuer>): never {
  const other = iss.endsWith('/') ? iss.slice(0, -1) : `${iss}/`;
  const hint = named.has(other) ? `, but ${quote(other)} is: the slash at the end counts` : '';
  throw new AppError('ISSUER_UNKNOWN', `issuer ${quote(iss)} is not configured on this server${hint}`);
}

function listIssuers(config: IdentityConfig): readonly ListedIssuer[] {
  return [...config.issuers, ...config.metaIssuers]
    .map((issuer) => ({
      url: issuer.url,
      wildcard: issuer.wildcard,
      audience: issuer.clientId,
      challengeClaim: issuer.challengeClaim || issuerTypes[issuer.type].challengeClaim,
      spiffeTrustDomain: issuer.spiffeTrustDomain,
      issuerType: issuer.type,
      subjectDomain: issuer.subjectDomain,
      skipEmailVerification: issuer.skipEmailVerification,
    }))
    .sort((a, b) => (a.url < b.url ? -1 : 1));
}
