import { Gauge, type Registry } from 'prom-client';
import { type Check, isReady } from '../http/app.js';
import type { Issuers } from '../identity/issuers.js';
import type { CertificateWork } from '../issuance/work.js';
import type { Metrics } from '../metrics.js';
import { type IssuerHealth, type IssuerNames, issuerHealth } from './issuer-label.js';

export interface InstanceParts {
  readonly readiness: () => readonly Check[];
  readonly issuers: () => Issuers;
  readonly names: IssuerNames;
  readonly work: Pick<CertificateWork, 'threads'>;
}

/** Adds the gauges of a certificate authority's dependencies, read at each scrape. */
export function observeInstance({ registry }: Pick<Metrics, 'registry'>, parts: InstanceParts): void {
  observeReadiness(registry, parts.readiness);
  observeIssuers(registry, parts);
  observeWork(registry, parts);
}

/** Adds what /readyz says. */
export function observeReadiness(registry: Registry, readiness: () => readonly Check[]): void {
  const registers = [registry];
  new Gauge({
    name: 'mayfly_ready',
    help: '1 when /readyz answers 200, else 0',
    registers,
    collect() {
      this.set(isReady(readiness()) ? 1 : 0);
    },
  });
  new Gauge({
    name: 'mayfly_dependency_ready',
    help: '1 when a dependency that /readyz lists is in order, else 0; target says which log or issuer it is',
    labelNames: ['dependency', 'target', 'required'],
    registers,
    collect() {
      this.reset();
      for (const { name, target = '', required = true, ok } of readiness()) {
        this.set({ dependency: name, target, required: String(required) }, ok ? 1 : 0);
      }
    },
  });
}

function observeIssuers(registry: Registry, { issuers, names }: InstanceParts): void {
  const registers = [registry];
  const gauge = (name: string, help: string, value: (health: IssuerHealth) => number | undefined) =>
    new Gauge({
      name,
      help,
      labelNames: ['issuer'],
      registers,
      collect() {
        this.reset();
        for (const [issuer, health] of issuerHealth(issuers(), names)) {
          const shown = value(health);
          if (shown !== undefined) this.set({ issuer }, shown);
        }
      },
    });
  gauge(
    'mayfly_issuer_keys',
    'Keys that are held of an issuer, of a pattern those of all issuers it has matched',
    ({ keyCount }) => keyCount,
  );
  gauge(
    'mayfly_issuer_keys_fetched_timestamp_seconds',
    'When the keys of an issuer were fetched, in seconds since the epoch; of a pattern, the oldest',
    ({ fetchedAtMs }) => (fetchedAtMs === undefined ? undefined : fetchedAtMs / 1000),
  );
}

function observeWork(registry: Registry, { work }: InstanceParts): void {
  const registers = [registry];
  const gauge = (name: string, help: string, value: () => number): void => {
    const collect = function (this: Gauge): void {
      this.set(value());
    };
    new Gauge({ name, help, registers, collect });
  };
  gauge('mayfly_worker_threads', 'Threads that check proofs and sign', () => work.threads().alive);
  gauge('mayfly_worker_threads_busy', 'Of those, the threads that have something to do', () => work.threads().busy);
  gauge(
    'mayfly_worker_jobs',
    'Steps that the threads have been given and have not answered',
    () => work.threads().jobs,
  );
}
