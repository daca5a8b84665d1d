/** Runs something after so many milliseconds; calling what it returns prevents that. */
export type After = (ms: number, run: () => void) => () => void;

/** Timers that do not keep the process alive. */
export const afterMs: After = (ms, run) => {
  const timer = setTimeout(run, ms);
  timer.unref();
  return () => clearTimeout(timer);
};

export interface CallQueueOptions {
  /** Calls that run at the same time. */
  readonly maxRunning: number;
  /** Calls that may wait for their turn; one more is refused. */
  readonly maxWaiting: number;
  /** How long a call may wait for its turn. */
  readonly maxWaitMs: number;
  readonly after: After;
}

/** Why a call was never made. */
export class QueueError extends Error {
  override readonly name = 'QueueError';
}

/** Lets so many calls run at once; the others wait in order. */
export interface CallQueue {
  /** The outcome of `call`; throws QueueError when it could not get its turn. */
  run<T>(call: () => Promise<T>): Promise<T>;
  /** Starts no call until `resume`; those that run go on. */
  pause(): void;
  resume(): void;
  /** Rejects everything that waits. */
  refuse(error: Error): void;
}

interface Waiting {
  start(): void;
  refuse(error: Error): void;
}

/** An empty queue. */
export function createCallQueue({ maxRunning, maxWaiting, maxWaitMs, after }: CallQueueOptions): CallQueue {
  const waiting = new Set<Waiting>();
  let running = 0;
  let paused = false;

  function turn(): Promise<void> {
    if (waiting.size >= maxWaiting) {
      return Promise.reject(new QueueError(`${maxWaiting} calls are waiting for their turn already`));
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        stopWaiting();
        waiting.delete(entry);
      };
      const entry: Waiting = {
        start() {
          leave();
          running += 1;
          resolve();
        },
        refuse(error) {
          leave();
          reject(error);
        },
      };
      const stopWaiting = after(maxWaitMs, () => entry.refuse(new QueueError(`no turn within ${maxWaitMs} ms`)));
      waiting.add(entry);
    });
  }

  function startNext(): void {
    for (const entry of waiting) {
      if (paused || running >= maxRunning) return;
      entry.start();
    }
  }

  return {
    async run(call) {
      if (paused || running >= maxRunning) await turn();
      else running += 1;
      try {
        return await call();
      } finally {
        running -= 1;
        startNext();
      }
    },
    pause() {
      paused = true;
    },
    resume() {
      paused = false;
      startNext();
    },
    refuse(error) {
      for (const entry of waiting) entry.refuse(error);
    },
  };
}
