import { AppError } from '../errors.js';
import { describe, quote } from './quote.js';

/** The claims of a token: a JSON object. Names are exact, unlike in Go, where "Email" would do for "email". */
export type Claims = Readonly<Record<string, unknown>>;

/** A claim by its exact name; undefined when absent. Never reaches into Object.prototype. */
export function claim(claims: Claims, name: string): unknown {
  return Object.hasOwn(claims, name) ? claims[name] : undefined;
}

/** A claim inside nested objects; undefined when any step is absent. */
export function claimAt(claims: Claims, path: readonly string[]): unknown {
  let value: unknown = claims;
  for (const step of path) {
    if (!isObject(value)) return undefined;
    value = claim(value, step);
  }
  return value;
}

export function isObject(value: unknown): value is Claims {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A claim that must be a string with something in it. Throws AppError CLAIM_MISSING or CLAIM_INVALID. */
export function requiredText(claims: Claims, path: readonly string[]): string {
  const name = path.join('.');
  const value = claimAt(claims, path);
  if (value === undefined) throw new AppError('CLAIM_MISSING', `the token has no claim ${quote(name)}`);
  if (typeof value !== 'string' || value === '') {
    throw new AppError(
      'CLAIM_INVALID',
      `claim ${quote(name)} is ${describe(value)}; expected a string that is not empty`,
    );
  }
  return value;
}

/**
 * A claim as the text a template puts into a certificate: strings as they are, true and false, numbers as Go prints a
 * float64 except that whole ones come out as integers; null as null, absent as undefined.
 * Throws AppError CLAIM_INVALID for an array or an object.
 */
export function claimText(claims: Claims, path: readonly string[]): string | null | undefined {
  const value = claimAt(claims, path);
  if (value === undefined || value === null || typeof value === 'string') return value;
  if (typeof value === 'number') return numberText(value);
  if (typeof value === 'boolean') return String(value);
  throw new AppError(
    'CLAIM_INVALID',
    `claim ${quote(path.join('.'))} is ${describe(value)}; a template can use a string, a number or a boolean`,
  );
}

function numberText(value: number): string {
  if (Number.isInteger(value)) return BigInt(value).toString();
  if (Math.abs(value) >= 1e-4) return String(value);
  // Go's %v changes to an exponent of two digits at least below 1e-4.
  return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
}
