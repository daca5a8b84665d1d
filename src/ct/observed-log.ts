import { AppError } from '../errors.js';
import { LeftAlone } from './external-log.js';
import type { CtLog } from './log.js';
import { SubmissionRefused } from './sct-answer.js';

/** Told how each submission ended (see resultOf), and after how many seconds. */
export type ObserveSubmission = (result: string, seconds: number) => void;

/** The same log, with its submissions observed. `clock` gives milliseconds and need not be the time of day. */
export function observedLog<T extends CtLog>(log: T, observe: ObserveSubmission, clock: () => number): T {
  return {
    ...log,
    async submit(submission, signal, signSct) {
      const start = clock();
      let result = 'sct';
      try {
        return await log.submit(submission, signal, signSct);
      } catch (error) {
        result = resultOf(error, signal?.aborted === true);
        throw error;
      } finally {
        observe(result, (clock() - start) / 1000);
      }
    },
  };
}

/**
 * How a submission failed: `refused` (4xx), `misbehaved` (it lied or made no sense), `left_alone` (not asked, the circuit
 * is open), `abandoned` (others were faster or the request was over), `unavailable` (everything else).
 */
function resultOf(error: unknown, aborted: boolean): string {
  if (error instanceof LeftAlone) return 'left_alone';
  if (error instanceof SubmissionRefused) return 'refused';
  if (error instanceof AppError && error.code === 'CT_LOG_MISBEHAVED') return 'misbehaved';
  return aborted ? 'abandoned' : 'unavailable';
}
