import type { QuotaState } from './quota.js';

/** Header fields of draft-ietf-httpapi-ratelimit-headers-10, both lists of structured fields (RFC 9651). */
export interface RateLimitFields {
  readonly 'RateLimit-Policy': string;
  readonly RateLimit: string;
}

/** What the limits that counted a request say about themselves: `"identity";q=60;w=60` and `"identity";r=12;t=37`. */
export function rateLimitFields(states: readonly QuotaState[]): RateLimitFields {
  return {
    'RateLimit-Policy': states
      .map(({ name, points, windowSeconds }) => `"${name}";q=${points};w=${windowSeconds}`)
      .join(', '),
    RateLimit: states
      .map(({ name, remaining, resetSeconds }) => `"${name}";r=${remaining};t=${resetSeconds}`)
      .join(', '),
  };
}
