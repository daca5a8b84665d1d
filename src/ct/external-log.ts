import type { KeyObject } from 'node:crypto';
import type { Logger } from 'pino';
import { type Cancellation, signalOf } from '../cancellation.js';
import { AppError, messageOf } from '../errors.js';
import { type RootsSource, readRoots } from './accepted-roots.js';
import { finalAnswer, pause, type Wait } from './attempts.js';
import { type BreakerChange, createBreaker, type Outcome } from './breaker.js';
import { isLogKey } from './digitally-signed.js';
import type { CtLog, PrecertSubmission, Readiness, Sct } from './log.js';
import { type LogTransport, logTransport } from './log-transport.js';
import { logIdOf } from './sct.js';
import { readSct, SubmissionRefused } from './sct-answer.js';

export interface ExternalLogOptions {
  /** Submission prefix; `/ct/v1/add-pre-chain` is appended. */
  readonly url: string;
  /** The log's key, ECDSA P-256 or RSA. */
  readonly publicKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Bound of one submission with all its attempts. */
  readonly timeoutMs: number;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  /** Sent as Host towards the log. */
  readonly hostHeader?: string;
  /** PEM certificates to trust for TLS. */
  readonly caCert?: string;
  /** Further headers of each request. */
  readonly headers?: (() => Readonly<Record<string, string>>) | undefined;
  readonly transport?: LogTransport;
  /** From 0 to 1: the jitter of the pauses between attempts. */
  readonly random?: () => number;
  /** Resolves after so many milliseconds; rejects when aborted. */
  readonly wait?: Wait;
  /** Told when the log is left alone (true), and when it is asked as usual again. */
  readonly onCircuit?: (open: boolean) => void;
}

/** The log was not asked, because it failed in submission after submission. */
export class LeftAlone extends AppError {}

/** For how long a failed submission makes the log count as not ready; traffic must return to find out more. */
const unreadyMs = 15_000;
const maxAnswerBytes = 64 * 1024;
/** The public web's roots are about 1 MB of JSON. */
const maxRootsBytes = 16 * 1024 * 1024;

/** Somebody else's log. */
export interface ExternalLog extends CtLog, RootsSource {
  /**
   * DER of the roots the log takes submissions under (RFC 6962 Section 4.7; static-ct-api has it too), as it says; one
   * attempt. Throws when it does not answer or answers something else.
   */
  acceptedRoots(signal?: AbortSignal): Promise<readonly Uint8Array[]>;
}

/**
 * A client of somebody else's log, RFC 6962 or static-ct-api: both take add-pre-chain. Every SCT is checked: log id,
 * signature over this precertificate, timestamp at most 5 minutes ahead and 24 hours old. 429, 5xx and network errors
 * are tried again, with jitter and honouring Retry-After, until `timeoutMs` is over; redirects are not followed. A log
 * that fails in submission after submission is left alone for a while (see createBreaker): `submit` then throws at once.
 *
 * `submit` throws AppError CT_LOG_UNAVAILABLE or CT_LOG_MISBEHAVED, both with retryAfterSeconds. Throws AppError STARTUP
 * when the URL or the key cannot be a log's.
 */
export function openExternalLog(options: ExternalLogOptions): ExternalLog {
  const { url, publicKey, clock, timeoutMs, logger, random = Math.random, wait = pause } = options;
  const addPreChain = endpoint(url, 'add-pre-chain');
  requireLogKey(url, publicKey);
  const transport = options.transport ?? transportOf(options);
  const onChange = (change: BreakerChange): void => {
    options.onCircuit?.(change.to === 'open');
    tell(logger, url, change);
  };
  const breaker = createBreaker({ clock, random, onChange });
  let failure: { reason: string; at: number } | undefined;

  async function ask(submission: PrecertSubmission, limit: AbortSignal): Promise<Sct> {
    const body = bodyOf(submission);
    const send = () => transport.post(addPreChain, body, { signal: limit, maxBytes: maxAnswerBytes });
    const answer = await finalAnswer(send, limit, { random, wait, timeoutMs });
    return readSct(answer, { submission, key: publicKey, now: clock() });
  }

  async function submit(submission: PrecertSubmission, signal?: Cancellation): Promise<Sct> {
    const admission = breaker.admit();
    if (!admission.admitted) throw leftAlone(admission.retryAfterMs);
    const start = clock();
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      const limit = signal === undefined ? deadline : AbortSignal.any([deadline, signalOf(signal)]);
      const sct = await ask(submission, limit);
      failure = undefined;
      admission.report('succeeded');
      return sct;
    } catch (error) {
      const known = error instanceof AppError ? error : unavailable(messageOf(error), error);
      const hadItsTime = signal?.aborted !== true || deadline.aborted || clock() - start >= timeoutMs / 2;
      if (hadItsTime) {
        failure = { reason: known.detail, at: clock() };
        logger.warn({ log: url, reason: known.code, err: known.cause }, `the log ${url} gave no SCT: ${known.detail}`);
      }
      admission.report(hadItsTime ? outcomeOf(known) : 'unknown');
      throw known;
    }
  }

  return {
    name: url,
    logId: logIdOf(publicKey),
    submit,
    readiness: (): Readiness => {
      if (failure === undefined) return { ok: true };
      if (breaker.pauseMs() === 0 && clock() - failure.at > unreadyMs) return { ok: true };
      return { ok: false, reason: failure.reason };
    },
    async acceptedRoots(signal) {
      const deadline = AbortSignal.timeout(timeoutMs);
      const limit = signal === undefined ? deadline : AbortSignal.any([deadline, signal]);
      const answer = await transport.get(endpoint(url, 'get-roots'), { signal: limit, maxBytes: maxRootsBytes });
      return readRoots(answer);
    },
    async close() {
      transport.close();
    },
  };
}

/** A refusal may be the fault of one precertificate, and whoever asked for it must not close the log to the others. */
function outcomeOf(error: AppError): Outcome {
  return error instanceof SubmissionRefused ? 'unknown' : 'failed';
}

function tell(logger: ExternalLogOptions['logger'], url: string, change: BreakerChange): void {
  if (change.to === 'closed') {
    logger.info({ log: url }, `the log ${url} gives SCTs again`);
    return;
  }
  const seconds = Math.ceil(change.pauseMs / 1000);
  const text = `the log ${url} failed ${change.failures} times in a row: it is left alone for ${seconds} s`;
  logger.warn({ log: url, failures: change.failures, pauseMs: change.pauseMs }, text);
}

function requireLogKey(url: string, key: KeyObject): void {
  if (isLogKey(key)) return;
  const found = `${key.asymmetricKeyType ?? 'symmetric'} ${key.asymmetricKeyDetails?.namedCurve ?? ''}`.trim();
  throw new AppError('STARTUP', `the key of the log ${url} is ${found}; RFC 6962 knows ECDSA P-256 and RSA`);
}

function transportOf({ hostHeader, caCert, headers }: ExternalLogOptions): LogTransport {
  return logTransport({
    headers,
    ...(hostHeader === undefined ? {} : { hostHeader }),
    ...(caCert === undefined ? {} : { caCert }),
  });
}

function endpoint(url: string, name: string): URL {
  const target = URL.canParse(url) ? new URL(`${url.replace(/\/+$/, '')}/ct/v1/${name}`) : undefined;
  if (target?.protocol === 'https:' || target?.protocol === 'http:') return target;
  throw new AppError('STARTUP', `the URL of the log is "${url}"; expected http:// or https://`);
}

function bodyOf({ precertificate, chain }: PrecertSubmission): string {
  return JSON.stringify({ chain: [precertificate, ...chain].map((der) => Buffer.from(der).toString('base64')) });
}

function unavailable(detail: string, cause?: unknown): AppError {
  return new AppError('CT_LOG_UNAVAILABLE', detail, { cause, retryAfterSeconds: 5 });
}

function leftAlone(retryAfterMs: number): AppError {
  const retryAfterSeconds = Math.ceil(retryAfterMs / 1000);
  const detail = `the log failed in submission after submission and is not asked for another ${retryAfterSeconds} s`;
  return new LeftAlone('CT_LOG_UNAVAILABLE', detail, { retryAfterSeconds });
}
