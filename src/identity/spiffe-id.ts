import { AppError } from '../errors.js';
import { quote } from './quote.js';

const maxLength = 2048;

/**
 * Refuses text that is not a SPIFFE ID of exactly this trust domain (SPIFFE-ID Section 2: no empty, `.` or `..` path
 * segment, no trailing slash, no query, at most 2048 bytes). Throws AppError SUBJECT_INVALID.
 */
export function checkSpiffeId(text: string, trustDomain: string): void {
  const match = /^spiffe:\/\/([a-z0-9._-]+)((?:\/[A-Za-z0-9._-]+)*)$/.exec(text);
  const [, domain, path = ''] = match ?? [];
  const dots = path.split('/').some((segment) => segment === '.' || segment === '..');
  if (domain === undefined || dots || text.length > maxLength) {
    throw new AppError(
      'SUBJECT_INVALID',
      `the token's subject ${quote(text)} is not a SPIFFE ID; expected spiffe://${trustDomain}/…`,
    );
  }
  if (domain !== trustDomain) {
    throw new AppError(
      'SUBJECT_INVALID',
      `the token's subject is of trust domain ${quote(domain)}; this issuer speaks for ${quote(trustDomain)}`,
    );
  }
}
