import { AppError } from '../errors.js';
import { type Claims, claim } from './claims.js';
import { describe, quote } from './quote.js';

/** How far a clock may be ahead of ours: for `nbf` as in Fulcio, for `iat` likewise. None is given on `exp`. */
const leewayMs = 5 * 60_000;

/** `aud`, a string or an array of strings, must contain the issuer's client-id. Throws AppError TOKEN_AUDIENCE_MISMATCH. */
export function checkAudience(claims: Claims, clientId: string): void {
  const audience = claim(claims, 'aud');
  if (audience === clientId || (Array.isArray(audience) && audience.includes(clientId))) return;
  throw new AppError(
    'TOKEN_AUDIENCE_MISMATCH',
    `token audience is ${describeAudience(audience)}; this issuer expects ${quote(clientId)}`,
  );
}

function describeAudience(audience: unknown): string {
  if (!Array.isArray(audience)) return describe(audience);
  const shown = audience.slice(0, 4).map(describe).join(', ');
  return `[${shown}${audience.length > 4 ? ', …' : ''}]`;
}

/**
 * `exp` (required), `nbf` and `iat` against `nowMs`; all are seconds since the epoch and may have fractions (RFC 7519
 * NumericDate). Returns `exp` in milliseconds. Throws AppError TOKEN_EXPIRED and its neighbours in the table.
 */
export function checkTimes(claims: Claims, nowMs: number): number {
  const exp = timeMs(claims, 'exp');
  if (exp === undefined) throw new AppError('TOKEN_EXPIRY_MISSING', 'the token has no claim "exp"; expected one');
  if (exp <= nowMs) throw new AppError('TOKEN_EXPIRED', `token expired ${duration(nowMs - exp)} ago`);
  const nbf = timeMs(claims, 'nbf');
  if (nbf !== undefined && nbf > nowMs + leewayMs) {
    throw new AppError(
      'TOKEN_NOT_YET_VALID',
      `token is valid (nbf) only from ${duration(nbf - nowMs)} ahead; at most ${duration(leewayMs)} is accepted`,
    );
  }
  const iat = timeMs(claims, 'iat');
  if (iat !== undefined && iat > nowMs + leewayMs) {
    throw new AppError(
      'TOKEN_ISSUED_IN_FUTURE',
      `token was issued (iat) ${duration(iat - nowMs)} ahead; at most ${duration(leewayMs)} is accepted`,
    );
  }
  return exp;
}

function timeMs(claims: Claims, name: string): number | undefined {
  const value = claim(claims, name);
  if (value === undefined || value === null) return undefined;
  // A day in milliseconds beyond the year 10000 is no date but somebody's mistake in units or an attack.
  if (typeof value === 'number' && Number.isFinite(value) && Math.abs(value) < 253_402_300_800) return value * 1000;
  throw new AppError('CLAIM_INVALID', `claim ${quote(name)} is ${describe(value)}; expected seconds since 1970`);
}

/** `35 s`, `12 min`, `3 h`, `40 days`. */
function duration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}
