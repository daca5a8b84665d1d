import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, messageOf } from '../errors.js';
import type { LogAnswer } from './log-transport.js';

const firstPauseMs = 100;
const maxPauseMs = 2000;
/** What the client is told to wait when the log names no time. */
const defaultRetryAfterMs = 5000;

/** Resolves after so many milliseconds; rejects when aborted. */
export type Wait = (ms: number, signal: AbortSignal) => Promise<void>;

export interface AttemptOptions {
  /** From 0 to 1: the jitter of the pauses. */
  readonly random: () => number;
  readonly wait: Wait;
  /** When to give up: a pause that would be longer is not begun. */
  readonly timeoutMs: number;
}

export const pause: Wait = async (ms, signal) => {
  await sleep(ms, undefined, { signal });
};

/** Why an attempt has to be repeated. */
interface Problem {
  readonly detail: string;
  /** What the log's Retry-After asks for. */
  readonly pauseMs?: number | undefined;
  readonly cause?: unknown;
}

/**
 * Repeats `send` until it has an answer that is final: 429, 5xx and network errors are not. Pauses grow from 100 ms to
 * 2 s, with jitter, and honour Retry-After. Throws AppError CT_LOG_UNAVAILABLE with retryAfterSeconds when `limit` is
 * aborted or the next pause would be longer than `timeoutMs`.
 */
export async function finalAnswer(
  send: () => Promise<LogAnswer>,
  limit: AbortSignal,
  { random, wait, timeoutMs }: AttemptOptions,
): Promise<LogAnswer> {
  let problem: Problem = { detail: `the log did not answer within ${timeoutMs} ms` };
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
    try {
      const answer = await send();
      const found = problemOf(answer);
      if (found === undefined) return answer;
      problem = found;
    } catch (error) {
      if (limit.aborted) throw gaveUp(problem, error);
      problem = { detail: `the log cannot be reached: ${reasonOf(error)}`, cause: error };
    }
    const next = Math.max(problem.pauseMs ?? 0, pauseMs * (0.5 + random() / 2));
    if (next > timeoutMs) throw gaveUp(problem);
    try {
      await wait(next, limit);
    } catch {
      throw gaveUp(problem);
    }
    if (limit.aborted) throw gaveUp(problem);
  }
}

/** A code such as ECONNREFUSED where there is one: the message would show the client an address of the inside. */
function reasonOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error) return String(error.code);
  return messageOf(error);
}

function problemOf({ status, retryAfter }: LogAnswer): Problem | undefined {
  if (status !== 429 && status < 500) return undefined;
  const seconds = retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : undefined;
  return { detail: `the log answers with HTTP status ${status}`, pauseMs: seconds && seconds * 1000 };
}

function gaveUp(problem: Problem, cause: unknown = problem.cause): AppError {
  const retryAfterSeconds = Math.ceil((problem.pauseMs ?? defaultRetryAfterMs) / 1000);
  return new AppError('CT_LOG_UNAVAILABLE', problem.detail, { cause, retryAfterSeconds });
}
