import type { Claims } from '../identity/claims.js';
import type { San } from '../x509/san.js';

/**
 * What a condition says of a request. `undecided`: the claim is missing, has another type than the rule compares with, or
 * is too long to look at; that never helps an allow rule and always counts for a deny rule.
 */
export type Verdict = 'match' | 'differs' | 'undecided';

/** What rules are about: verified claims and the name that the certificate would carry. */
export interface PolicySubject {
  readonly claims: Claims;
  readonly san: San;
  /** The claims as CEL reads them, made once for all expressions; undefined when they are too many or too long. */
  readonly celClaims: () => ReadonlyMap<string, unknown> | undefined;
}

/** Tests one value of a token's JSON. */
export type ValueTest = (value: unknown) => Verdict;

/** A rule that cannot be used; the message says what was found and what was expected. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
}

/** The best of alternatives: one match is enough, and a test that could not be made leaves the whole undecided. */
export function anyOf(verdicts: Iterable<Verdict>): Verdict {
  let best: Verdict = 'differs';
  for (const verdict of verdicts) {
    if (verdict === 'match') return 'match';
    if (verdict === 'undecided') best = 'undecided';
  }
  return best;
}
