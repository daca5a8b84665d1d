import { Counter, Gauge, type Registry } from 'prom-client';
import type { TimestampAuthority } from './authority.js';
import type { Failure } from './reply.js';

/** What is counted of a timestamp authority. */
export interface TsaMetrics {
  /** Requests by result: granted, or what RFC 3161 calls the failure. */
  readonly timestamps: Counter<'result'>;
  readonly clockJumps: Counter;
  /** Shows an authority's state from now on; `clock` gives milliseconds since the epoch. */
  observe(authority: Pick<TimestampAuthority, 'chain' | 'trouble'>, clock: () => number): void;
}

export type TimestampResult = 'granted' | Failure;

/** Adds the instruments of a timestamp authority to a registry. */
export function createTsaMetrics(registry: Registry): TsaMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, value: () => number): void => {
    const collect = function (this: Gauge): void {
      this.set(value());
    };
    new Gauge({ name, help, registers, collect });
  };
  return {
    timestamps: new Counter({
      name: 'mayfly_tsa_timestamps_total',
      help: 'Timestamp requests, by result: granted, or the PKIFailureInfo of the refusal',
      labelNames: ['result'],
      registers,
    }),
    clockJumps: new Counter({
      name: 'mayfly_tsa_clock_jumps_total',
      help: 'How often the wall clock jumped against the monotonic clock since the start',
      registers,
    }),
    observe({ chain, trouble }, clock) {
      gauge('mayfly_tsa_ready', '1 when a timestamp would be given now, else 0', () =>
        trouble() === undefined ? 1 : 0,
      );
      gauge(
        'mayfly_tsa_seconds_until_expiry',
        'Seconds until the first certificate of the timestamp chain ends',
        () => (chain.notAfter.getTime() - clock()) / 1000,
      );
    },
  };
}
