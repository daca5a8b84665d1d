import type { Claims } from '../identity/claims.js';
import type { San } from '../x509/san.js';
import type { PolicySubject } from './verdict.js';

const maxInputValues = 1000;
const maxInputChars = 16_384;
const maxTextChars = 2048;

/** A subject for the rules of one request. */
export function policySubject(claims: Claims, san: San): PolicySubject {
  let made: { readonly claims: ReturnType<typeof toCel> } | undefined;
  return {
    claims,
    san,
    celClaims() {
      made ??= { claims: toCel(claims) };
      return made.claims;
    },
  };
}

function toCel(claims: Claims): ReadonlyMap<string, unknown> | undefined {
  let values = 0;
  let chars = 0;
  let isTooLong = false;
  const text = (value: string): string => {
    chars += value.length;
    if (value.length > maxTextChars) isTooLong = true;
    return value;
  };
  const convert = (value: unknown): unknown => {
    values += 1;
    if (values > maxInputValues) return null;
    if (typeof value === 'string') return text(value);
    // CEL has integers of their own; a claim such as 5 is meant as one.
    if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
    if (Array.isArray(value)) return value.map(convert);
    if (typeof value === 'object' && value !== null) return mapOf(value);
    return value;
  };
  // A Map, so that no claim's name means something to JavaScript.
  const mapOf = (value: object): ReadonlyMap<string, unknown> =>
    new Map(Object.entries(value).map(([name, member]) => [text(name), convert(member)]));
  const input = mapOf(claims);
  return values > maxInputValues || chars > maxInputChars || isTooLong ? undefined : input;
}
