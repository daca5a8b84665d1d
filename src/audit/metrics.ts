import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { AuditEvent } from './record.js';

/** Adds the instruments of a trail to a registry. `trouble` is asked whenever they are read. */
export function createAuditMetrics(registry: Registry, trouble: () => string | undefined) {
  const registers = [registry];
  const lines = new Counter({
    name: 'mayfly_audit_lines_total',
    help: 'Durable lines of the audit trail, by event',
    labelNames: ['event'],
    registers,
  });
  const seconds = new Histogram({
    name: 'mayfly_audit_commit_seconds',
    help: 'Seconds until lines of the audit trail that were written together were durable',
    buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10],
    registers,
  });
  new Gauge({
    name: 'mayfly_audit_available',
    help: '1 while the audit trail can be written, else 0',
    registers,
    collect() {
      this.set(trouble() === undefined ? 1 : 0);
    },
  });
  return {
    observe(events: readonly AuditEvent[], taken: number): void {
      for (const event of events) lines.inc({ event });
      seconds.observe(taken);
    },
  };
}
