/**
 * What tells work that nobody waits for it any more: an AbortSignal as far as our own code needs one. Each request has one and
 * hardly any is ever used, so the usual one is a TimeLimit, which costs a tenth of an AbortSignal.
 */
export interface Cancellation {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** A Cancellation after a time; `end` frees it when the work is done before. */
export class TimeLimit implements Cancellation {
  readonly #timer: NodeJS.Timeout;
  #listeners: (() => void)[] = [];
  #aborted = false;
  #reason: unknown;

  constructor(ms: number) {
    this.#timer = setTimeout(() => this.#abort(ms), ms);
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  get reason(): unknown {
    return this.#reason;
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners.push(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const at = this.#listeners.indexOf(listener);
    if (at >= 0) this.#listeners.splice(at, 1);
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  #abort(ms: number): void {
    this.#aborted = true;
    this.#reason = new DOMException(`the limit of ${ms} ms is over`, 'TimeoutError');
    for (const listener of this.#listeners.splice(0)) listener();
  }
}

/** The same as an AbortSignal, for what takes nothing else. */
export function signalOf(cancellation: Cancellation): AbortSignal {
  if (cancellation instanceof AbortSignal) return cancellation;
  const controller = new AbortController();
  const abort = (): void => controller.abort(cancellation.reason);
  if (cancellation.aborted) abort();
  else cancellation.addEventListener('abort', abort);
  return controller.signal;
}
