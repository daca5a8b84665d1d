import { messageOf } from '../errors.js';
import type { After } from './call-queue.js';

/** What happened to a key: a call failed and a probe is under way, the probe failed too, a probe passed. */
export type RecoveryChange = { readonly to: 'checking' | 'down'; readonly reason: string } | { readonly to: 'up' };

export interface RecoveryOptions {
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly after: After;
  /** Finds out whether the key can sign; rejects when it cannot. */
  readonly probe: () => Promise<void>;
  readonly onChecking: () => void;
  readonly onDown: (reason: string) => void;
  readonly onUp: () => void;
  readonly onChange: (change: RecoveryChange) => void;
}

/** Whether a key can be used, and the probes that find out when it can again. */
export interface Recovery {
  /** A call failed: probes at once, unless that is being done. */
  failed(reason: string): void;
  /** Why the key cannot be used; undefined while it can, or while the first probe after a failure runs. */
  trouble(): string | undefined;
  /** Milliseconds until the next probe, 0 when none is planned. */
  nextProbeMs(): number;
  /** Probes no more. */
  close(): void;
}

const firstPauseMs = 250;
const maxPauseMs = 15_000;

/**
 * A key that can be used. After a failure it is probed at once, then after pauses that grow from 250 ms to 15 s, each
 * shortened by up to a half so that many processes do not come back at the same moment.
 */
export function createRecovery(options: RecoveryOptions): Recovery {
  const { clock, random, after, onChange } = options;
  let down: { readonly reason: string; readonly probeAt: number } | undefined;
  let probing = false;
  let closed = false;
  let stopWaiting: () => void = () => undefined;

  async function probe(pauseMs: number): Promise<void> {
    try {
      await options.probe();
    } catch (error) {
      if (!closed) planNext(messageOf(error), pauseMs);
      return;
    }
    if (closed) return;
    probing = false;
    down = undefined;
    onChange({ to: 'up' });
    options.onUp();
  }

  function planNext(reason: string, longestMs: number): void {
    const pauseMs = Math.round(longestMs * (1 - random() / 2));
    const isNews = down === undefined || down.reason !== reason;
    down = { reason, probeAt: clock() + pauseMs };
    if (isNews) onChange({ to: 'down', reason });
    options.onDown(reason);
    stopWaiting = after(pauseMs, () => void probe(Math.min(longestMs * 2, maxPauseMs)));
  }

  return {
    failed(reason) {
      if (probing || closed) return;
      probing = true;
      onChange({ to: 'checking', reason });
      options.onChecking();
      void probe(firstPauseMs);
    },
    trouble: () => (closed ? 'it is closed' : down?.reason),
    nextProbeMs: () => (down === undefined ? 0 : Math.max(0, down.probeAt - clock())),
    close() {
      closed = true;
      stopWaiting();
    },
  };
}
