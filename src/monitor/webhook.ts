import { createHmac } from 'node:crypto';
import { messageOf } from '../errors.js';
import type { Sink } from './delivery.js';
import { Unavailable } from './finding.js';

export interface WebhookOptions {
  readonly url: string;
  /** Key of the signature header; without one there is none. */
  readonly secret?: Uint8Array | undefined;
  readonly fetch: typeof fetch;
  /** Milliseconds. */
  readonly clock: () => number;
  readonly wait: (ms: number) => Promise<unknown>;
  readonly random: () => number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

const attempts = 5;
const firstPauseMs = 1000;
const maxPauseMs = 60_000;

/**
 * POSTs each event as JSON until it is answered with 2xx: five times with growing pauses, honouring Retry-After, then
 * `deliver` throws Unavailable and the monitor comes back with it. The signature is `t=<seconds>,v1=<hex>`: HMAC-SHA-256
 * over `<seconds>.<body>`.
 */
export function webhookSink(options: WebhookOptions): Sink {
  const { url, secret, clock, wait, random, timeoutMs = 15_000 } = options;

  /** Undefined when it was taken. */
  async function post(id: string, body: string): Promise<{ reason: string; pauseMs: number } | undefined> {
    const limit = AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
    const headers = { 'content-type': 'application/json', 'user-agent': 'mayfly-monitor', 'mayfly-event-id': id };
    const signature = secret === undefined ? {} : { 'mayfly-signature': sign(secret, body, clock()) };
    try {
      const response = await options.fetch(url, {
        method: 'POST',
        headers: { ...headers, ...signature },
        body,
        signal,
        redirect: 'manual',
      });
      await response.body?.cancel().catch(() => {});
      if (response.ok) return undefined;
      const seconds = /^\d{1,5}$/.exec(response.headers.get('retry-after') ?? '');
      return { reason: `HTTP status ${response.status}`, pauseMs: Number(seconds?.[0] ?? 0) * 1000 };
    } catch (error) {
      if (options.signal?.aborted === true) throw error;
      return { reason: reasonOf(error), pauseMs: 0 };
    }
  }

  return {
    name: 'webhook',
    async deliver(event) {
      const body = JSON.stringify(event);
      for (let attempt = 1; ; attempt += 1) {
        const refused = await post(event.id, body);
        if (refused === undefined) return;
        if (attempt === attempts || refused.pauseMs > maxPauseMs) {
          throw new Unavailable(`the webhook did not take event ${event.id}: ${refused.reason}`);
        }
        const pauseMs = firstPauseMs * 2 ** (attempt - 1) * (0.5 + random() / 2);
        await wait(Math.max(refused.pauseMs, pauseMs));
      }
    },
    async close() {},
  };
}

function sign(secret: Uint8Array, body: string, now: number): string {
  const seconds = Math.floor(now / 1000);
  const mac = createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex');
  return `t=${seconds},v1=${mac}`;
}

function reasonOf(error: unknown): string {
  const cause = typeof error === 'object' && error !== null && 'cause' in error ? error.cause : undefined;
  return messageOf(cause ?? error);
}
