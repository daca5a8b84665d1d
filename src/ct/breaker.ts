export interface BreakerOptions {
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** From 0 to 1: the jitter of the pauses. */
  readonly random: () => number;
  /** Called when calls stop being let through, and when they are again. */
  readonly onChange: (change: BreakerChange) => void;
}

export type BreakerChange =
  | { readonly to: 'open'; readonly failures: number; readonly pauseMs: number }
  | { readonly to: 'closed' };

/**
 * How a call that was let through ended. `unknown` says nothing about the other side: the caller gave up early, or what
 * was sent was at fault.
 */
export type Outcome = 'succeeded' | 'failed' | 'unknown';

/** Leave to make one call, which is to be reported once; or how long there will be none. */
export type Admission =
  | { readonly admitted: true; readonly report: (outcome: Outcome) => void }
  | { readonly admitted: false; readonly retryAfterMs: number };

/** A circuit breaker: what keeps failing is not called for a while, and then by one caller first. */
export interface Breaker {
  admit(): Admission;
  /** Milliseconds until a call may be let through; 0 when it may be now. */
  pauseMs(): number;
}

/** Failures in a row that open the circuit. */
export const failuresToOpen = 5;
const firstPauseMs = 5000;
const maxPauseMs = 30_000;

interface Opening {
  readonly at: number;
  /** As it was drawn: with jitter, so that many processes do not come back at once. */
  readonly pauseMs: number;
  probing: boolean;
}

/**
 * A closed breaker: it opens after 5 failures in a row, for 5 s at first, and then lets one call through at a time: if
 * that fails it stays open for twice as long, at most 30 s (each pause shortened by up to a quarter); a success closes it.
 */
export function createBreaker({ clock, random, onChange }: BreakerOptions): Breaker {
  let failures = 0;
  let nextPauseMs = firstPauseMs;
  let opening: Opening | undefined;

  function open(): void {
    opening = { at: clock(), pauseMs: Math.round(nextPauseMs * (1 - random() / 4)), probing: false };
    nextPauseMs = Math.min(nextPauseMs * 2, maxPauseMs);
    onChange({ to: 'open', failures, pauseMs: opening.pauseMs });
  }

  function succeeded(): void {
    const was = opening;
    [failures, nextPauseMs, opening] = [0, firstPauseMs, undefined];
    if (was !== undefined) onChange({ to: 'closed' });
  }

  function failed(probeOf: Opening | undefined): void {
    failures += 1;
    // Of calls let through before the circuit opened, a late failure is no news.
    if (opening === undefined ? failures >= failuresToOpen : opening === probeOf) open();
  }

  function pauseMs(): number {
    if (opening === undefined) return 0;
    const elapsed = clock() - opening.at;
    // A clock that stepped back must not keep the circuit open for the step.
    return elapsed < 0 ? 0 : Math.max(0, opening.pauseMs - elapsed);
  }

  return {
    pauseMs,
    admit() {
      const waitMs = pauseMs();
      if (waitMs > 0) return { admitted: false, retryAfterMs: waitMs };
      const probeOf = opening;
      if (probeOf?.probing === true) return { admitted: false, retryAfterMs: 1000 };
      if (probeOf !== undefined) probeOf.probing = true;
      return {
        admitted: true,
        report(outcome) {
          if (probeOf !== undefined) probeOf.probing = false;
          if (outcome === 'succeeded') succeeded();
          if (outcome === 'failed') failed(probeOf);
        },
      };
    },
  };
}
