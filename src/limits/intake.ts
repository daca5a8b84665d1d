import type { Cancellation } from '../cancellation.js';
import type { RequestContext } from '../issue.js';
import type { BodyMeter } from './body-budget.js';

/** What every transport asks before it works on a certificate request, in this order. */
export interface Intake {
  /** Before anything else is done for a request: throws AppError OVERLOADED when there is too much to do. */
  check(): Promise<void>;
  /** Before its body and token are read: throws AppError QUOTA_EXCEEDED when its client address has asked too often. */
  arrive(context: RequestContext): Promise<void>;
  /** Counts a body while it is read. */
  meter(): BodyMeter;
  /** Parses, verifies and issues when there is a place for it (see Gate.run). */
  run<T>(signal: Cancellation, work: () => Promise<T>): Promise<T>;
}

/** Takes whatever comes. */
export const openIntake: Intake = {
  check: async () => undefined,
  arrive: async () => undefined,
  meter: () => ({ add: () => undefined, close: () => undefined }),
  run: (_signal, work) => work(),
};
