import type { Issuers } from '../identity/issuers.js';
import type { KeyStatus } from '../identity/keys.js';
import { parseToken } from '../identity/token.js';
import { bySpecificity, patternOf } from '../identity/wildcard.js';

/** The issuers of a configuration as metrics name them: there are never more names than entries, and `other`. */
export interface IssuerNames {
  /** The URL or pattern of the entry that an `iss` belongs to, or `other`. */
  of(iss: string): string;
  /** The same for a token that has not been verified; `other` for one that cannot even be read. */
  ofToken(jwt: string): string;
}

export const otherIssuer = 'other';

/** Names by the configuration in force, which `issuers` gives. Looks at no issuer's keys. */
export function issuerNames(issuers: () => Issuers): IssuerNames {
  let known: { readonly issuers: Issuers; readonly nameOf: (iss: string) => string } | undefined;
  const of = (iss: string): string => {
    const now = issuers();
    if (known?.issuers !== now) known = { issuers: now, nameOf: namesIn(now) };
    return known.nameOf(iss);
  };
  return {
    of,
    ofToken(jwt) {
      try {
        return of(parseToken(jwt).issuer);
      } catch {
        return otherIssuer;
      }
    },
  };
}

/** No issuer URL in use comes near; it bounds the work of matching. */
const maxIssuerChars = 2_048;

function namesIn({ config }: Issuers): (iss: string) => string {
  const named = new Set(config.issuers.map(({ url }) => url));
  const patterns = config.metaIssuers
    .map(({ url }) => url)
    .sort(bySpecificity)
    .map((url) => ({ url, regExp: patternOf(url) }));
  return (iss) => {
    if (named.has(iss)) return iss;
    if (iss.length > maxIssuerChars) return otherIssuer;
    return patterns.find(({ regExp }) => regExp.test(iss))?.url ?? otherIssuer;
  };
}

/** The keys of one entry of the configuration; for a pattern, of the issuers that it has matched so far. */
export interface IssuerHealth {
  readonly keyCount: number;
  /** The oldest fetch whose keys are in use, in milliseconds since the epoch. */
  readonly fetchedAtMs: number | undefined;
  /** Why the keys could not be fetched at the last attempt; of a pattern, only if that holds for every issuer of it. */
  readonly failure: string | undefined;
}

/** One row for each entry of the configuration, by its URL or pattern. */
export function issuerHealth(issuers: Issuers, names: IssuerNames): ReadonlyMap<string, IssuerHealth> {
  const seen = new Map<string, KeyStatus[]>(issuers.list().map(({ url }) => [url, []]));
  for (const status of issuers.status()) seen.get(names.of(status.issuer))?.push(status);
  return new Map([...seen].map(([url, statuses]) => [url, summary(statuses)]));
}

function summary(statuses: readonly KeyStatus[]): IssuerHealth {
  const fetched = statuses.flatMap(({ fetchedAtMs }) => (fetchedAtMs === undefined ? [] : [fetchedAtMs]));
  const isFailing = statuses.every(({ failure }) => failure !== undefined);
  return {
    keyCount: statuses.reduce((sum, { keyCount }) => sum + keyCount, 0),
    fetchedAtMs: fetched.length === 0 ? undefined : Math.min(...fetched),
    failure: isFailing ? statuses[0]?.failure : undefined,
  };
}
