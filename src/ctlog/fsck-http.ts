import { setTimeout as sleep } from 'node:timers/promises';
import type { LogReader } from './storage.js';

export interface HttpReaderOptions {
  /** Monitoring prefix: what `checkpoint` and `tile/…` are appended to. */
  readonly url: string;
  readonly fetch: typeof fetch;
  /** Resolves after so many milliseconds. */
  readonly wait?: (ms: number) => Promise<unknown>;
  /** Bound of one attempt. */
  readonly timeoutMs?: number;
}

const attempts = 3;
const firstPauseMs = 500;
/** A data tile has 256 entries of a few kilobytes; this only keeps an endless answer out of memory. */
const maxFileBytes = 64 * 1024 * 1024;

/**
 * The files of a log over HTTP (static-ct-api, "Monitoring APIs"). 404 and 410 mean that there is no such file; network
 * errors, 429 and 5xx are tried three times, and then `fetch` rejects with what was found.
 */
export function openHttpReader(options: HttpReaderOptions): LogReader {
  const { url, wait = sleep, timeoutMs = 30_000 } = options;
  const base = `${url.replace(/\/+$/, '')}/`;

  async function fetchOnce(path: string): Promise<Uint8Array | undefined | Failure> {
    let response: Response;
    try {
      response = await options.fetch(new URL(path, base), { signal: AbortSignal.timeout(timeoutMs) });
      if (response.status === 200) return await readBody(response);
    } catch (error) {
      return new Failure(reasonOf(error), true);
    }
    await response.body?.cancel();
    if (response.status === 404 || response.status === 410) return undefined;
    return new Failure(`HTTP status ${response.status}`, response.status === 429 || response.status >= 500);
  }

  return {
    name: url,
    async fetch(path) {
      for (let attempt = 1; ; attempt += 1) {
        const outcome = await fetchOnce(path);
        if (!(outcome instanceof Failure)) return outcome;
        if (!outcome.passing || attempt === attempts) throw new Error(outcome.reason);
        await wait(firstPauseMs * attempt);
      }
    },
  };
}

/** Why a file could not be had, and whether it may be had the next time. */
class Failure {
  constructor(
    readonly reason: string,
    readonly passing: boolean,
  ) {}
}

async function readBody(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > maxFileBytes) throw new Error(`the answer is longer than ${maxFileBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** A failed fetch only says "fetch failed"; its cause says why. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer in time';
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : error.message;
}
