import { Gauge } from 'prom-client';
import type { EmbeddedLog } from '../ctlog/log.js';
import type { CommitObserver } from '../ctlog/sequencer.js';
import { createMetrics, type Metrics } from '../metrics.js';
import type { Tracing } from '../telemetry/tracing.js';

/** Instruments of a certificate authority, which would stand at zero for ever in a process that is none. */
const ofTheCa = [
  'fulcio_new_certs',
  'fulcio_api_latency',
  'grpc_server_handled_total',
  'mayfly_rejections_total',
  'mayfly_policy_decisions_total',
  'mayfly_stage_seconds',
  'mayfly_identity_config_reloads_total',
  'mayfly_identity_config_generation',
  'mayfly_ct_log_submissions_total',
  'mayfly_ct_log_submission_seconds',
  'mayfly_ct_log_circuit_open',
  'mayfly_ct_logs_config_reloads_total',
  'mayfly_certificates_issued_total',
  'mayfly_identity_config_last_reload_successful',
  'mayfly_identity_config_last_reload_success_timestamp_seconds',
  'mayfly_issuer_key_fetches_total',
  'mayfly_worker_thread_replacements_total',
];

/** The instruments of a log that runs by itself: those all our servers have in common. */
export function createLogMetrics(version: string, nodeVersion: string): Metrics {
  const metrics = createMetrics(version, nodeVersion);
  for (const name of ofTheCa) metrics.registry.removeSingleMetric(name);
  return metrics;
}

/** Adds what is to be seen of the log itself. */
export function observeLog(
  { registry }: Pick<Metrics, 'registry'>,
  log: Pick<EmbeddedLog, 'treeHead' | 'readiness' | 'queue'>,
): void {
  const gauge = (name: string, help: string, value: () => number): void => {
    const collect = function (this: Gauge): void {
      this.set(value());
    };
    new Gauge({ name, help, registers: [registry], collect });
  };
  gauge('mayfly_ctlog_tree_size', 'Entries in the published tree', () => log.treeHead().size);
  gauge(
    'mayfly_ctlog_tree_head_timestamp_seconds',
    'Time of the published tree head, in seconds since the epoch',
    () => log.treeHead().timestamp / 1000,
  );
  gauge('mayfly_ctlog_ready', '1 when a submission would be tried now, else 0', () => (log.readiness().ok ? 1 : 0));
  gauge('mayfly_ctlog_queue_entries', 'Entries that wait for the next commit', () => log.queue().waiting);
  gauge('mayfly_ctlog_queue_limit', 'Entries that may wait; more are refused with OVERLOADED', () => log.queue().limit);
}

/** Counts what a log commits and shows it in the traces of the requests it was for. */
export function commitObserver({ ctlog }: Pick<Metrics, 'ctlog'>, tracing?: Tracing): CommitObserver {
  return {
    queued: () => tracing?.point(),
    ended({ entries, seconds, committed, marks }) {
      if (committed) {
        ctlog.commits.inc();
        ctlog.commitSeconds.observe(seconds);
        ctlog.commitEntries.observe(entries);
      } else ctlog.commitFailures.inc();
      if (tracing === undefined) return;
      for (const mark of marks) {
        const point = mark as ReturnType<Tracing['point']>;
        if (point !== undefined) tracing.past('log commit', seconds, { 'mayfly.log.entries': entries }, 0, point);
      }
    },
  };
}
