import { AppError } from '../errors.js';

/** Counts the work under way, so that a shutdown can wait for it and take no more. */
export interface InFlight {
  /** Runs `work`, or throws AppError SHUTTING_DOWN once draining has begun. */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when everything that is under way at the call is done, whatever begins meanwhile. */
  settled(): Promise<void>;
  /** Refuses new work and resolves when the rest is done. */
  drain(): Promise<void>;
  readonly draining: () => boolean;
  /** How much is under way. */
  readonly active: () => number;
}

/** The work that began between two calls of `settled`. */
interface Batch {
  count: number;
  /** When the work of the batches before it is done. */
  readonly before: Promise<void>;
  /** Set once no more work is added to it. */
  idle?: () => void;
}

export function createInFlight(): InFlight {
  let batch: Batch = { count: 0, before: Promise.resolve() };
  let draining = false;
  let active = 0;

  function settled(): Promise<void> {
    const ended = batch;
    const own = ended.count === 0 ? Promise.resolve() : new Promise<void>((resolve) => (ended.idle = resolve));
    const all = Promise.all([ended.before, own]).then(() => undefined);
    batch = { count: 0, before: all };
    return all;
  }

  return {
    async run(work) {
      if (draining)
        throw new AppError('SHUTTING_DOWN', 'try again; another start of it may answer', { retryAfterSeconds: 2 });
      const mine = batch;
      mine.count++;
      active++;
      try {
        return await work();
      } finally {
        mine.count--;
        active--;
        if (mine.count === 0) mine.idle?.();
      }
    },
    settled,
    draining: () => draining,
    active: () => active,
    drain() {
      draining = true;
      return settled();
    },
  };
}
