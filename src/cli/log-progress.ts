/** What a long command says while it works. */
export interface Progress {
  /** `count` of `total` things are done. */
  readonly update: (count: number, total: number) => void;
  /** Ends the line that `update` writes. */
  readonly end: () => void;
}

export interface ProgressIo {
  readonly err: (text: string) => void;
  /** Whether a person is watching. */
  readonly interactive: boolean;
  /** Milliseconds. */
  readonly clock: () => number;
}

const everyMs = 200;

/** A line on the terminal that is written over; nothing at all where nobody is watching. */
export function createProgress(what: string, { err, interactive, clock }: ProgressIo): Progress {
  if (!interactive) return { update: () => {}, end: () => {} };
  const start = clock();
  let last = start;
  let shown = false;
  return {
    update(count, total) {
      const now = clock();
      if (now - last < everyMs) return;
      last = now;
      shown = true;
      const percent = total === 0 ? 100 : Math.floor((count / total) * 100);
      const rate = Math.round(count / Math.max((now - start) / 1000, 0.001));
      err(`\r${what}: ${count} of ${total} (${percent} %, ${rate}/s)\u001b[K`);
    },
    end() {
      if (shown) err('\r\u001b[K');
    },
  };
}
