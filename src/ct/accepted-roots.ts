import { X509Certificate } from 'node:crypto';
import type { Logger } from 'pino';
import { z } from 'zod';
import { messageOf } from '../errors.js';
import type { LogAnswer } from './log-transport.js';

/** A log that can say which roots it accepts, as DER. */
export interface RootsSource {
  readonly name: string;
  acceptedRoots(signal?: AbortSignal): Promise<readonly Uint8Array[]>;
}

/** The answer to get-roots (RFC 6962 Section 4.7). */
const rootsAnswer = z.object({ certificates: z.array(z.base64()) });

/** DER of the certificates in an answer to get-roots; throws Error for any other answer. */
export function readRoots({ status, body }: LogAnswer): readonly Uint8Array[] {
  if (status !== 200) throw new Error(`the log answers get-roots with HTTP status ${status}`);
  let json: unknown;
  try {
    json = JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new Error('the answer to get-roots is not JSON', { cause });
  }
  const parsed = rootsAnswer.safeParse(json);
  if (!parsed.success) throw new Error('the answer to get-roots holds no list of certificates');
  return parsed.data.certificates.map((text) => Buffer.from(text, 'base64'));
}

/**
 * Whether a log with these roots can take what `chain` issued: its last certificate is one of them, or was issued by
 * one. `chain` is DER, issuing CA first; a root that cannot be read is passed over.
 */
export function endsInRoot(chain: readonly Uint8Array[], roots: readonly Uint8Array[]): boolean {
  const last = chain.at(-1);
  if (last === undefined) return false;
  if (roots.some((root) => Buffer.from(root).equals(last))) return true;
  const end = new X509Certificate(last);
  return roots.some((der) => {
    try {
      const root = new X509Certificate(der);
      return end.checkIssued(root) && end.verify(root.publicKey);
    } catch {
      return false;
    }
  });
}

/**
 * Asks a log for its roots and tells the operator what that means for this CA; never throws. A log that does not answer
 * may be starting too: it is asked again with the first certificate.
 */
export async function checkAcceptedRoots(
  log: RootsSource,
  chain: readonly Uint8Array[],
  logger: Pick<Logger, 'info' | 'warn'>,
  signal: AbortSignal,
): Promise<void> {
  try {
    const roots = await log.acceptedRoots(signal);
    if (endsInRoot(chain, roots)) {
      logger.info({ log: log.name, roots: roots.length }, `the log ${log.name} accepts the root of this CA`);
      return;
    }
    const last = chain.at(-1);
    const root = last === undefined ? 'unknown' : new X509Certificate(last).subject.replaceAll('\n', ', ');
    const missing = `the log ${log.name} does NOT accept the root of this CA (${root}): it will refuse every certificate`;
    logger.warn({ log: log.name, roots: roots.length }, `${missing} until its operator adds that root to the log`);
  } catch (error) {
    if (signal.aborted) return;
    const text = `the log ${log.name} did not say which roots it accepts: ${messageOf(error)}`;
    logger.warn({ log: log.name, err: error }, text);
  }
}
