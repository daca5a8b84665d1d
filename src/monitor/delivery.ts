import type { MonitorEvent } from './events.js';

/** Where events go. */
export interface Sink {
  readonly name: string;
  /** Resolves when the event has arrived; throws Unavailable when it cannot now. */
  deliver(event: MonitorEvent): Promise<void>;
  close(): Promise<void>;
}

/** Delivers events to all sinks at least once, in order. */
export class Delivery {
  readonly #sinks: readonly Sink[];
  readonly #onDelivered: (sink: string, result: 'delivered' | 'failed') => void;
  /** What a sink has of events that another one has not taken yet. */
  readonly #taken = new Map<Sink, Set<string>>();

  constructor(sinks: readonly Sink[], onDelivered: (sink: string, result: 'delivered' | 'failed') => void) {
    this.#sinks = sinks;
    this.#onDelivered = onDelivered;
  }

  /** Throws Unavailable when a sink did not take one; a repetition goes only to those that have not. */
  async deliver(events: readonly MonitorEvent[]): Promise<void> {
    for (const event of events) {
      for (const sink of this.#sinks) await this.#deliverTo(sink, event);
    }
    this.#taken.clear();
  }

  async #deliverTo(sink: Sink, event: MonitorEvent): Promise<void> {
    const taken = this.#taken.get(sink) ?? new Set();
    if (taken.has(event.id)) return;
    try {
      await sink.deliver(event);
    } catch (error) {
      this.#onDelivered(sink.name, 'failed');
      throw error;
    }
    this.#onDelivered(sink.name, 'delivered');
    this.#taken.set(sink, taken.add(event.id));
  }

  async close(): Promise<void> {
    for (const sink of this.#sinks) await sink.close();
  }
}
