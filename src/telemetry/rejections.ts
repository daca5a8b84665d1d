import { toAppError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { type IssuerNames, otherIssuer } from './issuer-label.js';

/** Told of each request that gets no certificate: why, and its token ('' for one that was not read). */
export type OnRejection = (error: unknown, token: string) => void;

/** Counts rejections by reason and by the issuer that the token names. */
export function countRejections({ rejections }: Pick<Metrics, 'rejections'>, names: IssuerNames): OnRejection {
  return (error, token) => {
    const issuer = token === '' ? otherIssuer : names.ofToken(token);
    rejections.inc({ issuer, reason: toAppError(error).code });
  };
}

/** Runs `work`, which hands its token to `read` once it has one, and tells of its failure. */
export async function watched<T>(
  onRejection: OnRejection | undefined,
  work: (read: (token: string) => void) => Promise<T>,
): Promise<T> {
  let known = '';
  try {
    return await work((token) => {
      known = token;
    });
  } catch (error) {
    onRejection?.(error, known);
    throw error;
  }
}
