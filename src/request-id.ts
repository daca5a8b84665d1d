import { randomBytes } from 'node:crypto';

/** 128 random bits in hex, or the caller's own id when it is harmless in a log line (at most 64 of A-Z a-z 0-9 . _ -). */
export function requestIdOf(given: string | undefined): string {
  return given !== undefined && /^[\w.-]{1,64}$/.test(given) ? given : randomBytes(16).toString('hex');
}
