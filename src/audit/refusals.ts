import type { AuditEvent, AuditRecord } from './record.js';

/** Whether the token of a refused request was good. */
type Caller = 'known' | 'unknown';

/**
 * Lets so many refusals a minute have a line each, and counts the rest: what anybody can cause must not fill the disk.
 * Callers whose token was good have a share of their own, which strangers cannot use up.
 */
export class RefusalBudget {
  readonly #max: number;
  readonly #clock: () => number;
  readonly #left: Record<Caller, number>;
  readonly #counted = new Map<string, { event: AuditEvent; code: string; count: number }>();
  #from: number;

  /** `clock` gives milliseconds since the epoch. */
  constructor(max: number, clock: () => number) {
    this.#max = max;
    this.#clock = clock;
    this.#left = { known: max, unknown: max };
    this.#from = clock();
  }

  /** Whether a refusal gets its line; if not, it is counted. */
  take(caller: Caller, event: AuditEvent, code: string): boolean {
    if (this.#left[caller] > 0) {
      this.#left[caller] -= 1;
      return true;
    }
    const key = `${event} ${code}`;
    const row = this.#counted.get(key) ?? { event, code, count: 0 };
    row.count += 1;
    this.#counted.set(key, row);
    return false;
  }

  /** Ends a minute: what was counted, if anything. */
  turn(): AuditRecord | undefined {
    const [from, now] = [this.#from, this.#clock()];
    const counts = [...this.#counted.values()];
    this.#counted.clear();
    Object.assign(this.#left, { known: this.#max, unknown: this.#max });
    this.#from = now;
    if (counts.length === 0) return undefined;
    return { event: 'refusals', from: new Date(from).toISOString(), to: new Date(now).toISOString(), counts };
  }
}
