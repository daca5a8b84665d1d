import type { KeyObject } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { z } from 'zod';
import { AppError, messageOf } from '../errors.js';
import { isLogKey } from './digitally-signed.js';
import type { CtLog, PrecertSubmission, Sct } from './log.js';
import { type LogAnswer, type LogTransport, type LogTransportOptions, logTransport } from './log-transport.js';
import { logIdOf, verifySct } from './sct.js';

export interface ExternalLogOptions {
  /** Submission prefix; `/ct/v1/add-pre-chain` is appended. */
  readonly url: string;
  /** The log's key, ECDSA P-256 or RSA. */
  readonly publicKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Bound of one submission with all its attempts. */
  readonly timeoutMs: number;
  readonly logger: Pick<Logger, 'warn'>;
  /** Sent as Host towards the log. */
  readonly hostHeader?: string;
  /** PEM certificates to trust for TLS. */
  readonly caCert?: string;
  readonly transport?: LogTransport;
  /** From 0 to 1: the jitter of the pauses between attempts. */
  readonly random?: () => number;
  /** Resolves after so many milliseconds; rejects when aborted. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** An SCT further ahead of our clock than this is refused: clients would refuse it too. */
const maxAheadMs = 5 * 60_000;
/** Our precertificates are seconds old, so an SCT older than the usual MMD was not made for one of them. */
const maxAgeMs = 24 * 3_600_000;
const maxAnswerBytes = 64 * 1024;
const firstPauseMs = 100;
const maxPauseMs = 2000;
/** For how long a failed submission makes the log count as not ready; traffic must return to find out more. */
const unreadyMs = 15_000;

const base64 = z.base64().transform((text) => Buffer.from(text, 'base64'));

/** The answer to add-pre-chain (RFC 6962 Section 4.1). */
const addChainAnswer = z.object({
  sct_version: z.literal(0),
  id: base64,
  timestamp: z.int().nonnegative(),
  extensions: base64,
  signature: base64,
});

/**
 * A client of somebody else's RFC 6962 log. Every SCT is checked: log id, signature over this precertificate, timestamp
 * at most 5 minutes ahead and 24 hours old. 429, 5xx and network errors are tried again, with jitter and honouring
 * Retry-After, until `timeoutMs` is over; redirects are not followed.
 *
 * `submit` throws AppError CT_LOG_UNAVAILABLE (with retryAfterSeconds) or CT_LOG_MISBEHAVED. Throws AppError STARTUP
 * when the URL or the key cannot be a log's.
 */
export function openExternalLog(options: ExternalLogOptions): CtLog {
  const { url, publicKey, clock, timeoutMs, logger } = options;
  const target = addPreChainUrl(url);
  requireLogKey(url, publicKey);
  const transport = options.transport ?? logTransport(transportOptions(options));
  const attempts = attemptsWith(options.random ?? Math.random, options.wait ?? pause);
  let failure: { reason: string; at: number } | undefined;

  async function submit(submission: PrecertSubmission, signal?: AbortSignal): Promise<Sct> {
    const deadline = AbortSignal.timeout(timeoutMs);
    const limit = signal === undefined ? deadline : AbortSignal.any([deadline, signal]);
    try {
      const answer = await attempts(() => transport.post(target, bodyOf(submission), limit), limit, timeoutMs);
      const sct = readSct(answer, submission, publicKey, clock());
      failure = undefined;
      return sct;
    } catch (error) {
      const known = error instanceof AppError ? error : unavailable(messageOf(error), error);
      failure = { reason: known.detail, at: clock() };
      logger.warn({ log: url, reason: known.code, err: known.cause }, `the log ${url} gave no SCT: ${known.detail}`);
      throw known;
    }
  }

  return {
    name: url,
    logId: logIdOf(publicKey),
    submit,
    readiness() {
      if (failure === undefined || clock() - failure.at > unreadyMs) return { ok: true };
      return { ok: false, reason: failure.reason };
    },
    async close() {
      transport.close();
    },
  };
}

function requireLogKey(url: string, key: KeyObject): void {
  if (isLogKey(key)) return;
  const found = `${key.asymmetricKeyType ?? 'symmetric'} ${key.asymmetricKeyDetails?.namedCurve ?? ''}`.trim();
  throw new AppError('STARTUP', `the key of the log ${url} is ${found}; RFC 6962 knows ECDSA P-256 and RSA`);
}

function transportOptions({ hostHeader, caCert }: ExternalLogOptions): LogTransportOptions {
  return {
    maxBytes: maxAnswerBytes,
    ...(hostHeader === undefined ? {} : { hostHeader }),
    ...(caCert === undefined ? {} : { caCert }),
  };
}

function addPreChainUrl(url: string): URL {
  const target = URL.canParse(url) ? new URL(`${url.replace(/\/+$/, '')}/ct/v1/add-pre-chain`) : undefined;
  if (target?.protocol === 'https:' || target?.protocol === 'http:') return target;
  throw new AppError('STARTUP', `the URL of the log is "${url}"; expected http:// or https://`);
}

function bodyOf({ precertificate, chain }: PrecertSubmission): string {
  return JSON.stringify({ chain: [precertificate, ...chain].map((der) => Buffer.from(der).toString('base64')) });
}

function unavailable(detail: string, cause?: unknown, retryAfterSeconds = 5): AppError {
  return new AppError('CT_LOG_UNAVAILABLE', detail, { cause, retryAfterSeconds });
}

type Wait = (ms: number, signal: AbortSignal) => Promise<void>;

const pause: Wait = async (ms, signal) => {
  await sleep(ms, undefined, { signal });
};

/** Repeats `send` until it has an answer that is final, or `limit` is over. */
function attemptsWith(random: () => number, wait: Wait) {
  return async (send: () => Promise<LogAnswer>, limit: AbortSignal, timeoutMs: number): Promise<LogAnswer> => {
    let problem: Problem = { detail: `the log did not answer within ${timeoutMs} ms`, pauseMs: undefined };
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
      try {
        const answer = await send();
        const found = problemOf(answer);
        if (found === undefined) return answer;
        problem = found;
      } catch (error) {
        if (limit.aborted) throw gaveUp(problem, error);
        problem = { detail: `the log cannot be reached: ${messageOf(error)}`, pauseMs: undefined, cause: error };
      }
      const jittered = pauseMs * (0.5 + random() / 2);
      const next = Math.max(problem.pauseMs ?? 0, jittered);
      if (next > timeoutMs) throw gaveUp(problem, problem.cause);
      try {
        await wait(next, limit);
      } catch {
        throw gaveUp(problem, problem.cause);
      }
      if (limit.aborted) throw gaveUp(problem, problem.cause);
    }
  };
}

/** Why an attempt has to be repeated. */
interface Problem {
  readonly detail: string;
  /** What the log's Retry-After asks for. */
  readonly pauseMs: number | undefined;
  readonly cause?: unknown;
}

function problemOf({ status, retryAfter }: LogAnswer): Problem | undefined {
  if (status !== 429 && status < 500) return undefined;
  const seconds = retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : undefined;
  return { detail: `the log answers with HTTP status ${status}`, pauseMs: seconds && seconds * 1000 };
}

function gaveUp(problem: Problem, cause: unknown): AppError {
  return unavailable(problem.detail, cause, Math.ceil((problem.pauseMs ?? 5000) / 1000));
}

function misbehaved(detail: string, cause?: unknown): AppError {
  return new AppError('CT_LOG_MISBEHAVED', detail, cause === undefined ? {} : { cause });
}

function readSct(answer: LogAnswer, submission: PrecertSubmission, key: KeyObject, now: number): Sct {
  const { status, body } = answer;
  if (status >= 300 && status < 400) throw misbehaved(`the log answers with a redirect (${status}); none is followed`);
  if (status !== 200) {
    const cause = new Error(`answer: ${body.subarray(0, 500).toString('latin1')}`);
    throw unavailable(`the log refuses the precertificate with HTTP status ${status}`, cause, 60);
  }
  const sct = parseAnswer(body);
  if (Buffer.compare(sct.logId, logIdOf(key)) !== 0)
    throw misbehaved('the SCT is of another log than the configured one');
  if (!verifySct(sct, submission, key)) {
    throw misbehaved('the SCT does not verify for this precertificate with the configured key');
  }
  const age = now - Number(sct.timestamp);
  if (age < -maxAheadMs)
    throw misbehaved(`the SCT's timestamp is ${-age} ms ahead of our clock; expected at most ${maxAheadMs}`);
  if (age > maxAgeMs) throw misbehaved(`the SCT's timestamp is ${age} ms old; expected at most ${maxAgeMs}`);
  return sct;
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
