import type { KeyObject } from 'node:crypto';
import { AppError } from '../errors.js';
import type { IssuerKeys } from './discovery.js';
import { quote } from './quote.js';
import { fitsAlgorithm, type SignatureAlgorithm } from './signature.js';

/** More than one key of one kid is legal; more than a few would make us do an attacker's arithmetic. */
const maxCandidates = 8;

/** The keys of an issuer that may have made a signature, by `kid` if the token names one; at most a few. */
export function selectKeys(known: IssuerKeys, algorithm: SignatureAlgorithm, keyId: string | undefined): KeyObject[] {
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

/** Throws AppError TOKEN_ALGORITHM_UNSUPPORTED for an algorithm the issuer does not announce. */
export function checkAlgorithm(algorithm: SignatureAlgorithm, known: IssuerKeys, issuer: string): void {
  if (known.algorithms.has(algorithm)) return;
  throw new AppError(
    'TOKEN_ALGORITHM_UNSUPPORTED',
    `the token's "alg" is ${algorithm}; issuer ${quote(issuer)} announces ${[...known.algorithms].join(', ')}`,
  );
}

/** AppError TOKEN_KEY_UNKNOWN, saying what is missing. */
export function keyUnknown(
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
