import type { ProgressIo } from './log-progress.js';

/** What a long catch-up says. */
export interface CatchUpProgress {
  /** Entries up to `checked` of `total` are checked. */
  readonly update: (checked: number, total: number) => void;
  /** Ends the line on a terminal. */
  readonly end: () => void;
}

const terminalMs = 200;
/** Where nobody is watching, a line now and then is for the log file. */
const fileMs = 30_000;

/** Entries, entries per second and the time that is left: a line that is written over, or a line every half minute. */
export function catchUpProgress({ err, interactive, clock }: ProgressIo): CatchUpProgress {
  const everyMs = interactive ? terminalMs : fileMs;
  let start: { at: number; checked: number } | undefined;
  let last = 0;
  let shown = false;
  return {
    update(checked, total) {
      const now = clock();
      if (start === undefined) {
        start = { at: now, checked };
        last = now;
      }
      if (now - last < everyMs) return;
      last = now;
      const rate = (checked - start.checked) / ((now - start.at) / 1000);
      const left = rate > 0 ? `, ${spanText((total - checked) / rate)} left` : '';
      const percent = total === 0 ? 100 : Math.floor((checked / total) * 100);
      const line = `entry ${checked} of ${total} (${percent} %, ${Math.round(rate)}/s${left})`;
      err(interactive ? `\r${line}\u001b[K` : `mayfly monitor: ${line}\n`);
      shown = interactive;
    },
    end() {
      if (shown) err('\r\u001b[K');
      shown = false;
      start = undefined;
    },
  };
}

function spanText(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
