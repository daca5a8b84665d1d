import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** The instruments of one server, in a registry of its own. Names that Fulcio has keep Fulcio's names and labels. */
export interface Metrics {
  readonly registry: Registry;
  /** Certificates issued. */
  readonly newCerts: Counter;
  /** The same by issuer: an entry of the identity configuration, its pattern for a wildcard. */
  readonly issued: Counter<'issuer'>;
  /** Seconds per API call, by HTTP status and method. */
  readonly apiLatency: Histogram<'code' | 'method'>;
  readonly httpRequests: Counter<'code' | 'method'>;
  readonly grpcHandled: Counter<'grpc_code' | 'grpc_method' | 'grpc_service' | 'grpc_type'>;
  /** Refusals and failures by reason code (docs/errors.md), and by the issuer that the token names (as `issued`, or `other`). */
  readonly rejections: Counter<'issuer' | 'reason'>;
  /** Decisions of the policy by outcome (allowed, denied, would-deny) and by the rule that made them; `none` for no rule. */
  readonly policyDecisions: Counter<'outcome' | 'rule'>;
  /** Seconds per step of the pipeline: token, policy, proof, sign, log. */
  readonly stage: Histogram<'stage'>;
  readonly configReloads: Counter<'result'>;
  readonly configGeneration: Gauge;
  /** 1 while the last reload was put in force, 0 while it was refused. */
  readonly configReloadSuccessful: Gauge;
  /** When a configuration was last put in force, in seconds since the epoch. */
  readonly configReloadSuccessTime: Gauge;
  /** Attempts to fetch an issuer's keys. */
  readonly keyFetches: Counter<'issuer' | 'result'>;
  readonly threadReplacements: Counter;
  readonly logs: LogMetrics;
  readonly ctlog: CtlogMetrics;
}

/** Instruments of the embedded log's writer. */
export interface CtlogMetrics {
  readonly commits: Counter;
  readonly commitFailures: Counter;
  readonly commitSeconds: Histogram;
  readonly commitEntries: Histogram;
}

/** Instruments of the transparency logs; `log` is a log's URL or, of our own, its origin. */
export interface LogMetrics {
  /** Submissions by how they ended: sct, refused, misbehaved, left_alone, abandoned, unavailable. */
  readonly submissions: Counter<'log' | 'result'>;
  /** Seconds per submission. */
  readonly seconds: Histogram<'log'>;
  /** 1 while a log is left alone because it kept failing. */
  readonly circuitOpen: Gauge<'log'>;
  readonly configReloads: Counter<'result'>;
  /** Questions to witnesses by how they ended: cosigned, unavailable, refused, conflict, misbehaved. */
  readonly witnessAnswers: Counter<'witness' | 'result'>;
}

/** Builds the instruments; `version` and `nodeVersion` label the build-info gauge. */
export function createMetrics(version: string, nodeVersion: string): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const buildInfo = new Gauge({
    name: 'fulcio_build_info',
    help: 'A metric with a constant value of 1, labelled by the version of this server',
    labelNames: ['version', 'node_version', 'product'],
    registers,
  });
  buildInfo.set({ version, node_version: nodeVersion, product: 'mayfly' }, 1);
  return {
    registry,
    newCerts: new Counter({ name: 'fulcio_new_certs', help: 'The total number of certificates issued', registers }),
    issued: new Counter({
      name: 'mayfly_certificates_issued_total',
      help: 'Certificates issued, by issuer as the identity configuration names it (its pattern for a wildcard)',
      labelNames: ['issuer'],
      registers,
    }),
    apiLatency: new Histogram({
      name: 'fulcio_api_latency',
      help: 'API latency on calls, in seconds',
      labelNames: ['code', 'method'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    httpRequests: new Counter({
      name: 'http_requests_total',
      help: 'The number of HTTP requests by status code and method',
      labelNames: ['code', 'method'],
      registers,
    }),
    grpcHandled: new Counter({
      name: 'grpc_server_handled_total',
      help: 'The number of gRPC calls completed on the server, by code',
      labelNames: ['grpc_code', 'grpc_method', 'grpc_service', 'grpc_type'],
      registers,
    }),
    rejections: new Counter({
      name: 'mayfly_rejections_total',
      help: 'Certificate requests that got no certificate, by reason and by the configured issuer that the token names, else other',
      labelNames: ['issuer', 'reason'],
      registers,
    }),
    policyDecisions: new Counter({
      name: 'mayfly_policy_decisions_total',
      help: 'Decisions of the policy, by outcome and by the rule that made them (none: no rule)',
      labelNames: ['outcome', 'rule'],
      registers,
    }),
    stage: new Histogram({
      name: 'mayfly_stage_seconds',
      help: 'Seconds per step of issuing a certificate',
      labelNames: ['stage'],
      buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10],
      registers,
    }),
    configReloads: reloadsFromZero(
      new Counter({
        name: 'mayfly_identity_config_reloads_total',
        help: 'Reloads of the identity configuration, by result',
        labelNames: ['result'],
        registers,
      }),
    ),
    configGeneration: new Gauge({
      name: 'mayfly_identity_config_generation',
      help: 'How often the identity configuration in force was loaded since the start',
      registers,
    }),
    configReloadSuccessful: new Gauge({
      name: 'mayfly_identity_config_last_reload_successful',
      help: '1 when the last load of the identity configuration was put in force, 0 when it was refused',
      registers,
    }),
    configReloadSuccessTime: new Gauge({
      name: 'mayfly_identity_config_last_reload_success_timestamp_seconds',
      help: 'When an identity configuration was last put in force, in seconds since the epoch',
      registers,
    }),
    keyFetches: new Counter({
      name: 'mayfly_issuer_key_fetches_total',
      help: 'Attempts to fetch the keys of an issuer, by issuer as the identity configuration names it, and result',
      labelNames: ['issuer', 'result'],
      registers,
    }),
    threadReplacements: new Counter({
      name: 'mayfly_worker_thread_replacements_total',
      help: 'Threads that ended while the server ran, and were replaced',
      registers,
    }),
    logs: createLogInstruments(registers),
    ctlog: createCtlogInstruments(registers),
  };
}

function createCtlogInstruments(registers: Registry[]): CtlogMetrics {
  return {
    commits: new Counter({
      name: 'mayfly_ctlog_commits_total',
      help: 'Batches of entries that the embedded log has committed',
      registers,
    }),
    commitFailures: new Counter({
      name: 'mayfly_ctlog_commit_failures_total',
      help: 'Batches of entries that the embedded log could not commit',
      registers,
    }),
    commitSeconds: new Histogram({
      name: 'mayfly_ctlog_commit_seconds',
      help: 'Seconds per commit of a batch of entries, from its sequencing until it is durable',
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
      registers,
    }),
    commitEntries: new Histogram({
      name: 'mayfly_ctlog_commit_entries',
      help: 'Entries per commit of the embedded log',
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
      registers,
    }),
  };
}

/** From 0 on, because Prometheus sees no increase in a series that begins at 1. */
function reloadsFromZero(reloads: Counter<'result'>): Counter<'result'> {
  for (const result of ['loaded', 'refused']) reloads.inc({ result }, 0);
  return reloads;
}

function createLogInstruments(registers: Registry[]): LogMetrics {
  return {
    submissions: new Counter({
      name: 'mayfly_ct_log_submissions_total',
      help: 'Precertificates submitted to a log, by how it ended',
      labelNames: ['log', 'result'],
      registers,
    }),
    seconds: new Histogram({
      name: 'mayfly_ct_log_submission_seconds',
      help: 'Seconds until a log gave its SCT, or failed',
      labelNames: ['log'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    circuitOpen: new Gauge({
      name: 'mayfly_ct_log_circuit_open',
      help: '1 while a log is left alone because it failed several times in a row, else 0',
      labelNames: ['log'],
      registers,
    }),
    configReloads: reloadsFromZero(
      new Counter({
        name: 'mayfly_ct_logs_config_reloads_total',
        help: 'Reloads of the list of logs, by result',
        labelNames: ['result'],
        registers,
      }),
    ),
    witnessAnswers: new Counter({
      name: 'mayfly_ctlog_witness_answers_total',
      help: 'Checkpoints of the embedded log sent to a witness, by how it ended',
      labelNames: ['witness', 'result'],
      registers,
    }),
  };
}
