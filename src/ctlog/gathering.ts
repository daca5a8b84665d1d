export interface GatheringOptions {
  /** How many requests this process works on, those whose entries wait among them. */
  readonly underWay: () => number;
  /** For how long after a batch a busy log gathers the next one, in milliseconds. */
  readonly gatherMs: number;
  /** Entries that no batch needs more than. */
  readonly maxBatch: number;
}

/**
 * How long a batch gathers. A commit costs as much processor time as half a certificate, so a busy log makes one every ten
 * milliseconds; but it waits only while other requests are under way, and not again for those that a whole wait did not bring.
 */
export class Gathering {
  readonly #options: GatheringOptions;
  #lastBatchAt = Number.NEGATIVE_INFINITY;
  /** How many requests that are under way a whole wait did not bring: they have other troubles than this log. */
  #elsewhere = 0;
  #end: (() => void) | undefined;
  #closed = false;

  constructor(options: GatheringOptions) {
    this.#options = options;
  }

  /** Resolves when the batch is to be made of what `queue` has then. */
  async batch(queue: () => number): Promise<void> {
    const { gatherMs, underWay } = this.#options;
    const length = queue();
    const wait = this.#lastBatchAt + gatherMs - performance.now();
    if (wait >= 1 && this.#othersComing(length)) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#end = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#end = undefined;
      if (wait > gatherMs / 2 && queue() === length) this.#elsewhere = underWay() - length;
    }
    if (length > 0) this.#lastBatchAt = performance.now();
  }

  /** An entry has joined the queue, which has `length` now. */
  joined(length: number): void {
    if (!this.#othersComing(length)) this.#end?.();
  }

  /** Waits no more. */
  close(): void {
    this.#closed = true;
    this.#end?.();
  }

  #othersComing(length: number): boolean {
    const others = this.#options.underWay() - length;
    this.#elsewhere = Math.max(0, Math.min(this.#elsewhere, others));
    return !this.#closed && length > 0 && length < this.#options.maxBatch && others > this.#elsewhere;
  }
}
