import type { Logger } from 'pino';
import type { Cancellation } from '../cancellation.js';
import { AppError } from '../errors.js';
import { createCrowd } from './crowd.js';
import type { Pace } from './pace.js';

/** Bounds the requests in work, so that those which are taken keep their latency when there are too many. */
export interface Gate {
  /** To be called before a request is read: throws AppError OVERLOADED when it would only be refused later. */
  check(): Promise<void>;
  /**
   * Runs `work` when a place is free. Throws AppError OVERLOADED when there is none in time, and whatever `signal` ended
   * with when that came first: the work is then not begun.
   */
  run<T>(signal: Cancellation, work: () => Promise<T>): Promise<T>;
  readonly inWork: () => number;
  readonly waiting: () => number;
}

export interface GateOptions {
  /** Requests in work at once. */
  readonly places: number;
  /** Requests that may wait for a place, for a burst that will be over in no time. */
  readonly maxWaiting: number;
  /** The longest such a wait. */
  readonly maxWaitMs: number;
  /** More than `places` that wait so long, as many coming as going, are an overload too. */
  readonly standingMs: number;
  /** Once a request was refused, nothing waits until so long has passed without a refusal. */
  readonly calmMs: number;
  /** A clock that never jumps, in milliseconds. */
  readonly now: () => number;
  /** From 0 to 1, so that refused clients do not all come back in the same moment. */
  readonly random: () => number;
  readonly pace: Pace;
  readonly onRefusal: () => void;
  readonly logger: Pick<Logger, 'warn' | 'info'>;
}

/** A request that waits for a place. */
interface Waiter {
  start(): void;
  refuse(): void;
}

/**
 * A burst waits, an overload does not: requests beyond the places wait for a while, but with the first one that cannot or
 * that waited in vain, or behind a queue that stands, all are refused but as many as there are places, and from then on
 * nothing waits: a queue which never empties would only add to everybody's latency.
 */
export function createGate(options: GateOptions): Gate {
  const { places, standingMs, now } = options;
  const crowd = createCrowd({ small: places, windowMs: standingMs, now });
  const overload = createOverload(options, () => {
    for (const waiter of [...waiting].slice(places)) waiter.refuse();
  });
  /** First in, first out. */
  const waiting = new Set<Waiter>();
  let inWork = 0;

  function isFull(): boolean {
    const stands = crowd.stands(waiting.size);
    return inWork >= places && (waiting.size >= (overload.lasts() ? 0 : options.maxWaiting) || stands);
  }

  async function refuseInTurn(): Promise<never> {
    const refusal = overload.refuse();
    await options.pace.turn();
    throw refusal;
  }

  function leave(): void {
    const [next] = waiting;
    if (next === undefined) inWork--;
    else next.start();
  }

  /** Resolves with a place taken. */
  function wait(signal: Cancellation): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        waiting.delete(waiter);
        settle();
      };
      const waiter: Waiter = {
        start: () => end(resolve),
        refuse: () => end(() => refuseInTurn().catch(reject)),
      };
      const onAbort = (): void => end(() => reject(reasonOf(signal)));
      const timer = setTimeout(waiter.refuse, options.maxWaitMs);
      signal.addEventListener('abort', onAbort);
      waiting.add(waiter);
    });
  }

  return {
    async check() {
      if (isFull()) await refuseInTurn();
    },
    async run(signal, work) {
      if (signal.aborted) throw reasonOf(signal);
      if (isFull()) await refuseInTurn();
      if (inWork < places) inWork++;
      else await wait(signal);
      try {
        return await work();
      } finally {
        leave();
      }
    },
    inWork: () => inWork,
    waiting: () => waiting.size,
  };
}

/** Whether too much came of late, and the refusals: `onBegin` is called with the first one of an overload. */
function createOverload(options: GateOptions, onBegin: () => void) {
  const { places, calmMs, now, random, logger } = options;
  // Made once: an error's stack trace costs as much as the rest of a refusal.
  const errors = [1, 2, 3].map((seconds) => busy(places, seconds));
  let refused = 0;
  let lastRefusalAt = Number.NEGATIVE_INFINITY;
  const lasts = (): boolean => now() - lastRefusalAt < calmMs;
  const watch = (): void => {
    setTimeout(() => {
      if (lasts()) return watch();
      logger.info({ refused }, 'the overload is over');
      refused = 0;
    }, calmMs).unref();
  };
  return {
    lasts,
    refuse(): AppError {
      const begins = !lasts();
      lastRefusalAt = now();
      // One line for each would add to the overload; http_requests_total and mayfly_rejections_total count them.
      if (refused === 0) {
        logger.warn({ maxInFlight: places }, 'more requests than can be worked on: the excess is refused');
        watch();
      }
      refused++;
      options.onRefusal();
      if (begins) onBegin();
      return errors[Math.floor(random() * errors.length)] ?? busy(places, 1);
    },
  };
}

function busy(places: number, retryAfterSeconds: number): AppError {
  return new AppError('OVERLOADED', `${places} requests are in work; try again in a moment`, { retryAfterSeconds });
}

function reasonOf(signal: Cancellation): unknown {
  return signal.reason instanceof AppError
    ? signal.reason
    : new AppError('DEADLINE_EXCEEDED', 'its time was over before the work on it began');
}
