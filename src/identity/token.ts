import { isUtf8 } from 'node:buffer';
import { AppError } from '../errors.js';
import { parseStrictJson } from '../json.js';
import { type Claims, claim, isObject } from './claims.js';
import type { Issuer } from './issuer.js';
import { describe, quote } from './quote.js';
import { isSignatureAlgorithm, type SignatureAlgorithm, signatureAlgorithms, verifySignature } from './signature.js';
import { checkAudience, checkTimes } from './token-checks.js';

declare const parsed: unique symbol;
declare const verified: unique symbol;

/** A JWT that is well-formed and of which nothing is true yet. */
export interface RawToken {
  readonly [parsed]: true;
  readonly algorithm: SignatureAlgorithm;
  readonly keyId: string | undefined;
  /** `iss`, good for looking up who to ask, and for nothing else. */
  readonly issuer: string;
  readonly untrustedClaims: Claims;
  /** ASCII of `header.payload`. */
  readonly signingInput: Uint8Array;
  readonly signature: Uint8Array;
}

/** A token whose signature, issuer, audience and times were checked. */
export interface VerifiedToken {
  readonly [verified]: true;
  readonly issuer: string;
  /** `sub`; '' when there is none. */
  readonly subject: string;
  readonly claims: Claims;
  /** `jti`; undefined when there is none or it is no string. */
  readonly id: string | undefined;
  /** `exp` in milliseconds since the epoch. */
  readonly expiresAtMs: number;
  /** ASCII of `header.payload`: what the signature covers, so what identifies a token that has no `jti`. */
  readonly signingInput: Uint8Array;
}

const maxTokenChars = 65_536;

/**
 * Parses a compact JWS (RFC 7515 Section 7.1) strictly: at most 64 KiB, three segments of unpadded canonical base64url,
 * UTF-8, JSON without duplicate keys, a supported `alg`, no `crit`. `jku`, `x5u`, `jwk` and `x5c` are never looked at:
 * keys come from the issuer. White space around the token is dropped. Throws AppError, never with the token in it.
 */
export function parseToken(jwt: string): RawToken {
  if (jwt.length > maxTokenChars) {
    throw new AppError('TOKEN_TOO_LARGE', `the token has ${jwt.length} characters; expected at most ${maxTokenChars}`);
  }
  const text = jwt.trim();
  if (text === '') throw new AppError('TOKEN_MISSING', 'no identity token was given; expected a JWT');
  const [header, payload, signature] = segments(text);
  const untrustedClaims = jsonObject(payload, 'payload');
  const { algorithm, keyId } = parseHeader(jsonObject(header, 'header'));
  const issuer = claim(untrustedClaims, 'iss');
  if (typeof issuer !== 'string' || issuer === '') {
    throw new AppError('ISSUER_MISSING', `the token's claim "iss" is ${describe(issuer)}; expected the issuer's URL`);
  }
  const signingInput = Buffer.from(text.slice(0, text.lastIndexOf('.')), 'latin1');
  const raw = { algorithm, keyId, issuer, untrustedClaims, signingInput, signature: base64url(signature, 'signature') };
  return raw as RawToken & typeof raw;
}

/**
 * Checks audience and times, then the signature under the issuer's keys. `clock` gives milliseconds since the epoch.
 * Throws AppError saying what was found and what was expected; may wait for the issuer's keys.
 */
export async function verifyToken(raw: RawToken, issuer: Issuer, clock: () => number): Promise<VerifiedToken> {
  const { untrustedClaims: claims } = raw;
  if (raw.issuer !== issuer.url) {
    throw new AppError('ISSUER_UNKNOWN', `the token is from ${quote(raw.issuer)}, not from ${quote(issuer.url)}`);
  }
  checkAudience(claims, issuer.config.clientId);
  checkTimes(claims, clock());
  const token = assumeVerified(raw);
  await checkSignature(raw, issuer);
  return token;
}

/**
 * The token as if it had been verified: for `mayfly check token`, which shows what a token would yield, and for
 * verifyToken itself. Throws AppError where a claim has the wrong type.
 */
export function assumeVerified(raw: RawToken): VerifiedToken {
  const { untrustedClaims: claims } = raw;
  const subject = claim(claims, 'sub') ?? '';
  if (typeof subject !== 'string') {
    throw new AppError('CLAIM_INVALID', `claim "sub" is ${describe(subject)}; expected a string`);
  }
  const id = claim(claims, 'jti');
  const exp = claim(claims, 'exp');
  const token = {
    issuer: raw.issuer,
    subject,
    claims,
    id: typeof id === 'string' ? id : undefined,
    expiresAtMs: typeof exp === 'number' ? exp * 1000 : 0,
    signingInput: raw.signingInput,
  };
  return token as VerifiedToken & typeof token;
}

/** Throws AppError TOKEN_SIGNATURE_INVALID unless a key of the issuer made the token's signature. */
export async function checkSignature(raw: RawToken, issuer: Issuer): Promise<void> {
  const keys = await issuer.keys.find(raw.algorithm, raw.keyId);
  for (const key of keys) {
    if (await verifySignature(raw.algorithm, key, raw.signingInput, raw.signature)) return;
  }
  const under = raw.keyId === undefined ? 'any key' : `key ${quote(raw.keyId)}`;
  throw new AppError(
    'TOKEN_SIGNATURE_INVALID',
    `the token's ${raw.algorithm} signature does not verify under ${under} of issuer ${quote(issuer.url)}`,
  );
}

function segments(text: string): readonly [string, string, string] {
  const first = text.indexOf('.');
  const second = text.indexOf('.', first + 1);
  if (first === -1 || second === -1 || text.indexOf('.', second + 1) !== -1) {
    throw new AppError('TOKEN_MALFORMED', 'the token is not a JWT; expected three segments joined by two dots');
  }
  return [text.slice(0, first), text.slice(first + 1, second), text.slice(second + 1)];
}

function parseHeader(header: Claims): { algorithm: SignatureAlgorithm; keyId: string | undefined } {
  const algorithm = claim(header, 'alg');
  if (!isSignatureAlgorithm(algorithm)) {
    const known = Object.keys(signatureAlgorithms).join(', ');
    throw new AppError('TOKEN_ALGORITHM_UNSUPPORTED', `the token's "alg" is ${describe(algorithm)}; expected ${known}`);
  }
  if (Object.hasOwn(header, 'crit')) {
    // RFC 7515 Section 4.1.11: an extension that is not understood must be refused, and none is.
    throw new AppError('TOKEN_HEADER_UNSUPPORTED', 'the token\'s header has "crit"; expected none');
  }
  const keyId = claim(header, 'kid');
  if (keyId !== undefined && typeof keyId !== 'string') {
    throw new AppError('TOKEN_MALFORMED', `the token's "kid" is ${describe(keyId)}; expected a string`);
  }
  // Some libraries write an empty kid for none.
  return { algorithm, keyId: keyId === '' ? undefined : keyId };
}

function jsonObject(segment: string, name: string): Claims {
  const bytes = base64url(segment, name);
  if (!isUtf8(bytes)) throw new AppError('TOKEN_MALFORMED', `the token's ${name} is not valid UTF-8`);
  const text = bytes.toString('utf8');
  let value: unknown;
  try {
    value = parseStrictJson(text);
  } catch (error) {
    const reason = error instanceof SyntaxError ? error.message : 'it cannot be read';
    throw new AppError('TOKEN_MALFORMED', `the token's ${name} is not JSON of one reading: ${reason}`);
  }
  if (!isObject(value))
    throw new AppError('TOKEN_MALFORMED', `the token's ${name} is ${describe(value)}; expected an object`);
  refuseLoneSurrogates(text, value, name);
  return value;
}

/** `\ud800` alone becomes U+FFFD in UTF-8, so two different tokens could yield one certificate. */
function refuseLoneSurrogates(text: string, value: Claims, name: string): void {
  // JSON.stringify escapes exactly the lone ones; an even number of backslashes before is text of its own.
  if (/\\ud[89a-f]/i.test(text) && /(?<!\\)(?:\\\\)*\\ud[89a-f]/.test(JSON.stringify(value))) {
    throw new AppError('TOKEN_MALFORMED', `the token's ${name} has half a surrogate pair in a string`);
  }
}

/** Bits of the last character that encode nothing, by length modulo 4 (RFC 4648 Section 3.5). */
const unusedBits: Readonly<Record<number, number>> = { 0: 0, 2: 0b1111, 3: 0b11 };
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** Strict: URL-safe alphabet, no padding, no bits left over; so a token has one spelling only. */
function base64url(segment: string, name: string): Buffer {
  const mask = unusedBits[segment.length % 4];
  const lastBits = alphabet.indexOf(segment.slice(-1));
  if (!/^[\w-]+$/.test(segment) || mask === undefined || (lastBits & mask) !== 0) {
    const found = segment === '' ? 'empty' : 'not base64url';
    throw new AppError('TOKEN_MALFORMED', `the token's ${name} is ${found}; expected unpadded base64url (RFC 7515)`);
  }
  return Buffer.from(segment, 'base64url');
}
