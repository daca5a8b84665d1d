import { types } from 'node:util';
import { BadAnswer, Stopped, Unavailable } from './finding.js';

/** Reads a log over HTTP without being a burden to it. */
export interface LogClient {
  /** The URL that paths are appended to. */
  readonly url: string;
  /**
   * The body of a 200 answer, or undefined for 404 and 410. `path` may carry a query or be a URL. Throws BadAnswer for what no
   * repetition changes, Unavailable when the log cannot be had now, Stopped when the monitor is to stop.
   */
  get(path: string, maxBytes: number): Promise<Uint8Array | undefined>;
}

export interface LogClientOptions {
  readonly url: string;
  readonly fetch: typeof fetch;
  /** Milliseconds. */
  readonly clock: () => number;
  /** Rejects when the monitor is to stop. */
  readonly wait: (ms: number) => Promise<unknown>;
  /** From 0 to 1: the jitter of the pauses. */
  readonly random: () => number;
  /** Bound of one attempt, its body included. */
  readonly timeoutMs?: number;
  readonly requestsPerSecond?: number;
  /** Requests at the same time. */
  readonly parallel?: number;
  readonly signal?: AbortSignal;
  /** Told the status of every answer, or `error`. */
  readonly onAnswer?: (status: string) => void;
}

const attempts = 5;
const firstPauseMs = 500;
const maxPauseMs = 30_000;
/** A log that wants to be left alone for longer is not waited for within a round. */
const maxRetryAfterMs = 120_000;

/** Opens a client; one client for a log, because limits and a Retry-After hold for all its requests together. */
export function openLogClient(options: LogClientOptions): LogClient {
  const { clock, random, timeoutMs = 30_000, requestsPerSecond = 20, parallel = 4 } = options;
  const base = options.url.endsWith('/') ? options.url : `${options.url}/`;
  const slots = new Slots(parallel);
  let nextAt = 0;
  let leftAloneUntil = 0;

  async function wait(ms: number): Promise<void> {
    try {
      await options.wait(ms);
    } catch (cause) {
      throw options.signal?.aborted === true ? new Stopped('stopped', { cause }) : cause;
    }
  }

  /** Waits for this request's turn. */
  async function turn(): Promise<void> {
    const alone = leftAloneUntil - clock();
    if (alone > maxRetryAfterMs) throw new Unavailable(`it asks to be left alone for ${Math.ceil(alone / 1000)} s`);
    const at = Math.max(clock(), nextAt, leftAloneUntil);
    nextAt = at + 1000 / requestsPerSecond;
    const ms = at - clock();
    if (ms > 0) await wait(ms);
  }

  async function once(path: string, maxBytes: number): Promise<Uint8Array | undefined | Passing> {
    const limit = AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
    let response: Response;
    try {
      response = await options.fetch(new URL(path, base), { signal, redirect: 'manual' });
      options.onAnswer?.(String(response.status));
      if (response.status === 200) return await readBody(response, maxBytes);
    } catch (error) {
      if (options.signal?.aborted === true) throw new Stopped('stopped', { cause: error });
      if (error instanceof BadAnswer) throw error;
      options.onAnswer?.('error');
      return new Passing(reasonOf(error), 0);
    }
    await response.body?.cancel().catch(() => {});
    const { status, headers } = response;
    if (status === 404 || status === 410) return undefined;
    const passing = status === 408 || status === 429 || status >= 500;
    if (!passing) throw new BadAnswer(`HTTP status ${status}${redirectIn(response)} at ${path}`);
    return new Passing(`HTTP status ${status}`, retryAfterMs(headers.get('retry-after'), clock()));
  }

  return {
    url: options.url,
    async get(path, maxBytes) {
      for (let attempt = 1; ; attempt += 1) {
        const outcome = await slots.run(async () => {
          await turn();
          return once(path, maxBytes);
        });
        if (!(outcome instanceof Passing)) return outcome;
        if (outcome.retryAfterMs > 0) leftAloneUntil = Math.max(leftAloneUntil, clock() + outcome.retryAfterMs);
        if (attempt === attempts) throw new Unavailable(`${outcome.reason} at ${path}, ${attempts} times`);
        await wait(Math.min(maxPauseMs, firstPauseMs * 2 ** (attempt - 1)) * (0.5 + random() / 2));
      }
    },
  };
}

/** A failure that may pass. */
class Passing {
  constructor(
    readonly reason: string,
    readonly retryAfterMs: number,
  ) {}
}

/** Lets so many tasks run at once, the others in their order. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free -= 1;
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}

async function readBody(response: Response, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > maxBytes) throw new BadAnswer(`the answer is longer than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Retry-After (RFC 9110 Section 10.2.3): seconds or a date; 0 when it is neither. */
function retryAfterMs(text: string | null, now: number): number {
  if (text === null) return 0;
  if (/^\d{1,7}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? 0 : Math.max(0, date - now);
}

function redirectIn({ headers }: Response): string {
  const location = headers.get('location');
  return location === null ? '' : ` (to ${JSON.stringify(location.slice(0, 200))}, which is not followed)`;
}

/** A failed fetch only says "fetch failed"; its cause says why. */
function reasonOf(error: unknown): string {
  if (!types.isNativeError(error)) return 'no answer in time';
  if (error.name === 'TimeoutError') return 'no answer in time';
  const cause: unknown = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause;
  return types.isNativeError(cause) && cause.message !== '' ? cause.message : error.message;
}
