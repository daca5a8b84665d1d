/** Spreads refusals over time, so that clients which come back at once do not take the time away from those who are served. */
export interface Pace {
  /** Resolves when the next refusal may be answered: at once, unless there are many. */
  turn(): Promise<void>;
}

export interface PaceOptions {
  /** What may be answered every `tickMs`; a busy event loop ticks more slowly, and then less is answered. */
  readonly perTick: number;
  readonly tickMs: number;
  /** Held back at once; what is more is not held back. */
  readonly maxHeld: number;
}

/** First in, first out. */
export function createPace({ perTick, tickMs, maxHeld }: PaceOptions): Pace {
  const held: (() => void)[] = [];
  let left = perTick;
  let ticking = false;

  function tick(): void {
    ticking = false;
    left = perTick;
    for (const release of held.splice(0, perTick)) {
      left--;
      release();
    }
    if (left < perTick) arm();
  }

  function arm(): void {
    if (!ticking) setTimeout(tick, tickMs);
    ticking = true;
  }

  return {
    async turn() {
      arm();
      if (left > 0) left--;
      else if (held.length < maxHeld) await new Promise<void>((resolve) => held.push(resolve));
    },
  };
}
