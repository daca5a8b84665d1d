import { Gauge } from 'prom-client';
import type { EmbeddedLog } from '../ctlog/log.js';
import { createMetrics, type Metrics } from '../metrics.js';

/** Instruments of a certificate authority, which would stand at zero for ever in a process that is none. */
const ofTheCa = [
  'fulcio_new_certs',
  'fulcio_api_latency',
  'grpc_server_handled_total',
  'mayfly_rejections_total',
  'mayfly_stage_seconds',
  'mayfly_identity_config_reloads_total',
  'mayfly_identity_config_generation',
  'mayfly_ct_log_submissions_total',
  'mayfly_ct_log_submission_seconds',
  'mayfly_ct_log_circuit_open',
  'mayfly_ct_logs_config_reloads_total',
];

/** The instruments of a log that runs by itself: those all our servers have in common. */
export function createLogMetrics(version: string, nodeVersion: string): Metrics {
  const metrics = createMetrics(version, nodeVersion);
  for (const name of ofTheCa) metrics.registry.removeSingleMetric(name);
  return metrics;
}

/** Adds what is to be seen of the log itself. */
export function observeLog({ registry }: Metrics, log: Pick<EmbeddedLog, 'treeHead' | 'readiness'>): void {
  const gauge = (name: string, help: string, value: () => number): void => {
    const collect = function (this: Gauge): void {
      this.set(value());
    };
    new Gauge({ name, help, registers: [registry], collect });
  };
  gauge('mayfly_log_tree_size', 'Entries in the published tree', () => log.treeHead().size);
  gauge(
    'mayfly_log_tree_head_timestamp_seconds',
    'Time of the published tree head, in seconds since the epoch',
    () => log.treeHead().timestamp / 1000,
  );
  gauge('mayfly_log_ready', '1 when a submission would be tried now, else 0', () => (log.readiness().ok ? 1 : 0));
}
