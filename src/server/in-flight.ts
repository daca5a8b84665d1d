import { AppError } from '../errors.js';

/** Counts the work under way, so that a shutdown can wait for it and take no more. */
export interface InFlight {
  /** Runs `work`, or throws AppError SHUTTING_DOWN once draining has begun. */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** Refuses new work and resolves when the rest is done. */
  drain(): Promise<void>;
  readonly draining: () => boolean;
}

export function createInFlight(): InFlight {
  let count = 0;
  let idle: (() => void) | undefined;
  let draining = false;
  return {
    async run(work) {
      if (draining)
        throw new AppError('SHUTTING_DOWN', 'try again; another start of it may answer', { retryAfterSeconds: 2 });
      count++;
      try {
        return await work();
      } finally {
        count--;
        if (count === 0) idle?.();
      }
    },
    draining: () => draining,
    drain() {
      draining = true;
      if (count === 0) return Promise.resolve();
      return new Promise((resolve) => {
        idle = resolve;
      });
    },
  };
}
