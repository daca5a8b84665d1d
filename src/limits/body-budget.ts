import { AppError } from '../errors.js';

/** Bounds the memory that large request bodies take together. */
export interface BodyBudget {
  /** Begins to count one body. */
  open(): BodyMeter;
}

export interface BodyMeter {
  /** Counts bytes that have arrived; throws AppError OVERLOADED when all large bodies together are too much. */
  add(bytes: number): void;
  /** Gives back what was counted. */
  close(): void;
}

/** A certificate request is smaller than this, so hostile bodies cannot keep it out by using the budget up. */
const freeBytes = 128 * 1024;

/** A budget of `maxBytes` for what bodies have beyond their first 128 KiB; those are bounded by the number of connections. */
export function createBodyBudget(maxBytes: number): BodyBudget {
  let used = 0;
  return {
    open() {
      let size = 0;
      let counted = 0;
      return {
        add(bytes) {
          size += bytes;
          const more = Math.max(0, size - freeBytes) - counted;
          if (more > 0 && used + more > maxBytes) {
            const detail = 'too many large requests are being read; try again in a moment';
            throw new AppError('OVERLOADED', detail, { retryAfterSeconds: 2 });
          }
          counted += more;
          used += more;
        },
        close() {
          used -= counted;
          counted = 0;
        },
      };
    },
  };
}
