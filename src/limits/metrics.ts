import { Counter, Gauge, type Registry } from 'prom-client';

/** Instruments of the limits. */
export interface LimitMetrics {
  /** Refusals by the limit that made them: `identity`, `issuer`, `address`, `overload`. */
  readonly refusals: Counter<'limit'>;
}

/** What a limit holds now. */
export interface LimitGauges {
  readonly inWork: () => number;
  readonly waiting: () => number;
  /** Keys that each configured limit counts. */
  readonly keys: () => Iterable<readonly [limit: string, keys: number]>;
}

/** Registers the instruments; the gauges are read when they are scraped. */
export function createLimitMetrics(registry: Registry, now: LimitGauges): LimitMetrics {
  const registers = [registry];
  new Gauge({
    name: 'mayfly_requests_in_work',
    help: 'Certificate requests that are worked on',
    registers,
    collect() {
      this.set(now.inWork());
    },
  });
  new Gauge({
    name: 'mayfly_requests_waiting',
    help: 'Certificate requests that wait for a place',
    registers,
    collect() {
      this.set(now.waiting());
    },
  });
  new Gauge({
    name: 'mayfly_limit_keys',
    help: 'Identities, issuers and client addresses that are being counted',
    labelNames: ['limit'],
    registers,
    collect() {
      for (const [limit, keys] of now.keys()) this.set({ limit }, keys);
    },
  });
  return {
    refusals: new Counter({
      name: 'mayfly_limit_refusals_total',
      help: 'Certificate requests refused by a limit: identity, issuer, address or overload',
      labelNames: ['limit'],
      registers,
    }),
  };
}
