import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { AppError } from '../errors.js';
import type { PrecertSubmission, Sct } from './log.js';
import type { LogAnswer } from './log-transport.js';
import { logIdOf, verifySct } from './sct.js';

/** An SCT further ahead of our clock than this is refused: clients would refuse it too. */
const maxAheadMs = 5 * 60_000;
/** Our precertificates are seconds old, so an SCT older than the usual MMD was not made for one of them. */
const maxAgeMs = 24 * 3_600_000;
/** Asking a log that refuses or lies again at once is of no use; its operator has to do something. */
const retryAfterSeconds = 60;

const base64 = z.base64().transform((text) => Buffer.from(text, 'base64'));

/** The answer to add-pre-chain (RFC 6962 Section 4.1; static-ct-api has the same). */
const addChainAnswer = z.object({
  sct_version: z.literal(0),
  id: base64,
  timestamp: z.int().nonnegative(),
  extensions: base64,
  signature: base64,
});

/** The log answered that it does not take this precertificate, or none of ours. */
export class SubmissionRefused extends AppError {}

/** What an answer to add-pre-chain is checked against. */
export interface ExpectedSct {
  readonly submission: PrecertSubmission;
  /** The log's public key. */
  readonly key: KeyObject;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * The SCT in a final answer to add-pre-chain, checked: log id, signature over this precertificate, timestamp at most 5
 * minutes ahead and 24 hours old. Throws SubmissionRefused (CT_LOG_UNAVAILABLE) for a refusal (4xx) and CT_LOG_MISBEHAVED for
 * everything no honest log says.
 */
export function readSct({ status, body }: LogAnswer, { submission, key, now }: ExpectedSct): Sct {
  if (status >= 300 && status < 400) throw misbehaved(`the log answers with a redirect (${status}); none is followed`);
  if (status !== 200) {
    const cause = new Error(`answer: ${body.subarray(0, 500).toString('latin1')}`);
    const detail = `the log refuses the precertificate with HTTP status ${status}`;
    throw new SubmissionRefused('CT_LOG_UNAVAILABLE', detail, { cause, retryAfterSeconds });
  }
  const sct = parseAnswer(body);
  if (Buffer.compare(sct.logId, logIdOf(key)) !== 0) {
    throw misbehaved('the SCT is of another log than the configured one');
  }
  if (!verifySct(sct, submission, key)) {
    throw misbehaved('the SCT does not verify for this precertificate with the configured key');
  }
  checkAge(now - Number(sct.timestamp));
  return sct;
}

function checkAge(ageMs: number): void {
  if (ageMs < -maxAheadMs) {
    throw misbehaved(`the SCT's timestamp is ${-ageMs} ms ahead of our clock; expected at most ${maxAheadMs}`);
  }
  if (ageMs > maxAgeMs) throw misbehaved(`the SCT's timestamp is ${ageMs} ms old; expected at most ${maxAgeMs}`);
}

function parseAnswer(body: Buffer): Sct {
  let json: unknown;
  try {
    json = JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw misbehaved("the log's answer is not JSON", cause);
  }
  const parsed = addChainAnswer.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw misbehaved(`the log's answer is not an SCT: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`);
  }
  const { id, timestamp, extensions, signature } = parsed.data;
  return { logId: id, timestamp: BigInt(timestamp), extensions, signature };
}

function misbehaved(detail: string, cause?: unknown): AppError {
  return new AppError('CT_LOG_MISBEHAVED', detail, { cause, retryAfterSeconds });
}
