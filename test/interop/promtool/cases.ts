/** Series as promtool writes them: `first+stepxcount`, one sample a minute unless the case says otherwise. */
export type Series = Readonly<Record<string, string>>;

/** When an alert fires, and when it does not. */
export interface AlertCase {
  readonly alert: string;
  readonly fires: Series;
  readonly quiet: Series;
  /** When it is looked at; promtool's duration. */
  readonly at: string;
  readonly interval?: string;
}

const target = 'job="mayfly",instance="ca-0"';
const series = (name: string, labels = ''): string => `${name}{${target}${labels === '' ? '' : `,${labels}`}}`;
const rejected = (reason: string): string =>
  series('mayfly_rejections_total', `issuer="https://issuer.example",reason="${reason}"`);
const expiry = (state: string): string =>
  series('mayfly_ca_seconds_until_expiry', `ca="a1",state="${state}",subject="CN=issuing"`);
const dependency = (name: string, to = ''): string =>
  series('mayfly_dependency_ready', `dependency="${name}",target="${to}",required="true"`);
const issued = series('fulcio_new_certs');
const build = series('fulcio_build_info', 'product="mayfly"');
const day = 86_400;
const constant = (value: number): string => `${value}x600`;
/** One series that has `bad` and, in the quiet case, `good`. */
const one = (name: string, bad: string | number, good: string | number): Pick<AlertCase, 'fires' | 'quiet'> => {
  const text = (value: string | number): string => (typeof value === 'number' ? constant(value) : value);
  return { fires: { [name]: text(bad) }, quiet: { [name]: text(good) } };
};

export const cases: readonly AlertCase[] = [
  {
    alert: 'MayflyAbsent',
    fires: { 'up{job="other"}': constant(1) },
    quiet: { [build]: constant(1) },
    at: '10m',
  },
  { alert: 'MayflyNotReady', ...one(series('mayfly_ready'), 0, 1), at: '5m' },
  { alert: 'MayflyNotReady', ...one(series('mayfly_ready'), '0x600', '1 0 1 0 1 0 1 0 1 0 1'), at: '9m' },
  {
    alert: 'MayflyErrorBudgetBurnsFast',
    fires: { [issued]: '0+58x600', [rejected('INTERNAL')]: '0+2x600' },
    // Two percent of bad requests, by fault of the callers.
    quiet: {
      [issued]: '0+58x600',
      [rejected('TOKEN_EXPIRED')]: '0+2x600',
      [rejected('ISSUER_UNAVAILABLE')]: '0+2x600',
    },
    at: '2h',
  },
  {
    alert: 'MayflyErrorBudgetBurnsFast',
    fires: { [issued]: '0+58x600', [rejected('SIGNER_UNAVAILABLE')]: '0+2x600' },
    // It is over: the hour still shows it, the last five minutes do not.
    quiet: { [issued]: '0+58x600', [rejected('SIGNER_UNAVAILABLE')]: '0+2x50 100+0x550' },
    at: '65m',
  },
  {
    alert: 'MayflyErrorBudgetBurnsSlowly',
    fires: { [issued]: '0+990x600', [rejected('CT_LOG_UNAVAILABLE')]: '0+10x600' },
    quiet: { [issued]: '0+998x600', [rejected('CT_LOG_UNAVAILABLE')]: '0+2x600' },
    at: '7h',
  },
  {
    alert: 'MayflyNoIssuance',
    interval: '10m',
    fires: { [issued]: '0+5x1008 5040+0x10' },
    quiet: { [issued]: '0+5x1020' },
    at: '10130m',
  },
  {
    alert: 'MayflyNoIssuance',
    interval: '10m',
    fires: { [issued]: '0+5x1008 5040+0x10' },
    // Nobody asked at this hour a week ago either.
    quiet: { [issued]: '7+0x1020' },
    at: '10130m',
  },
  {
    alert: 'MayflyOverloaded',
    ...one(series('mayfly_limit_refusals_total', 'limit="overload"'), '0+60x600', '60+0x600'),
    at: '15m',
  },
  {
    alert: 'MayflyOverloaded',
    fires: { [series('mayfly_limit_refusals_total', 'limit="overload"')]: '0+60x600' },
    quiet: { [series('mayfly_limit_refusals_total', 'limit="identity"')]: '0+60x600' },
    at: '15m',
  },
  {
    alert: 'MayflyEventLoopLags',
    fires: { [series('nodejs_eventloop_lag_p99_seconds')]: constant(0.5), [build]: constant(1) },
    // Another program on Node.
    quiet: { 'nodejs_eventloop_lag_p99_seconds{job="other",instance="x"}': constant(0.5), [build]: constant(1) },
    at: '15m',
  },
  {
    alert: 'MayflyWorkerThreadsEnd',
    ...one(series('mayfly_worker_thread_replacements_total'), '0+1x20', '0 0 0 1x20'),
    at: '15m',
  },
  { alert: 'MayflyCaExpiresIn30Days', ...one(expiry('active'), 29 * day, 31 * day), at: '2h' },
  { alert: 'MayflyCaExpiresIn30Days', ...one(expiry('next'), 8 * day, 6 * day), at: '2h' },
  { alert: 'MayflyCaExpiresIn7Days', ...one(expiry('active'), 6 * day, 8 * day), at: '15m' },
  { alert: 'MayflyCaExpiresIn1Day', ...one(expiry('active'), day - 1, day + 1), at: '5m' },
  {
    alert: 'MayflyCaExpiresIn1Day',
    fires: { [expiry('active')]: constant(-5) },
    quiet: { [expiry('former')]: constant(-5) },
    at: '5m',
  },
  { alert: 'MayflySignerFails', ...one(dependency('signer'), 0, 1), at: '5m' },
  {
    alert: 'MayflySignerFails',
    ...one(rejected('SIGNER_UNAVAILABLE'), '0+1x60', '4+0x60'),
    at: '15m',
  },
  { alert: 'MayflyTimestampsStopped', ...one(series('mayfly_tsa_ready'), 0, 1), at: '5m' },
  {
    alert: 'MayflyTsaExpiresIn30Days',
    ...one(series('mayfly_tsa_seconds_until_expiry'), 29 * day, 31 * day),
    at: '2h',
  },
  {
    alert: 'MayflyTufOfflineRoleExpires',
    ...one(series('mayfly_tuf_seconds_until_expiry', 'role="root"'), 13 * day, 15 * day),
    at: '2h',
  },
  {
    alert: 'MayflyTufOnlineRoleExpires',
    ...one(series('mayfly_tuf_seconds_until_expiry', 'role="timestamp"'), day / 2, 2 * day),
    at: '15m',
  },
  { alert: 'MayflyTufOutdated', ...one(series('mayfly_tuf_targets_outdated'), 1, 0), at: '2h' },
  { alert: 'MayflyLogStopped', ...one(series('mayfly_ctlog_ready'), 0, 1), at: '5m' },
  {
    alert: 'MayflyLogHeadStale',
    // The test's time starts at 0, and a head that is signed every minute is never old.
    ...one(series('mayfly_ctlog_tree_head_timestamp_seconds'), '0+0x600', '0+60x600'),
    at: '3h',
  },
  {
    alert: 'MayflyLogCommitsFail',
    ...one(series('mayfly_ctlog_commit_failures_total'), '0x5 3x20', '3x30'),
    at: '10m',
  },
  {
    alert: 'MayflyLogCommitsSlow',
    fires: {
      [series('mayfly_ctlog_commit_seconds_bucket', 'le="1"')]: '0+1x600',
      [series('mayfly_ctlog_commit_seconds_bucket', 'le="2.5"')]: '0+100x600',
      [series('mayfly_ctlog_commit_seconds_bucket', 'le="+Inf"')]: '0+100x600',
    },
    quiet: {
      [series('mayfly_ctlog_commit_seconds_bucket', 'le="0.1"')]: '0+100x600',
      [series('mayfly_ctlog_commit_seconds_bucket', 'le="1"')]: '0+100x600',
      [series('mayfly_ctlog_commit_seconds_bucket', 'le="+Inf"')]: '0+100x600',
    },
    at: '20m',
  },
  {
    alert: 'MayflyLogQueueFull',
    fires: {
      [series('mayfly_ctlog_queue_entries')]: constant(4000),
      [series('mayfly_ctlog_queue_limit')]: constant(4096),
    },
    quiet: {
      [series('mayfly_ctlog_queue_entries')]: constant(400),
      [series('mayfly_ctlog_queue_limit')]: constant(4096),
    },
    at: '5m',
  },
  {
    alert: 'MayflyCtLogLeftAlone',
    ...one(series('mayfly_ct_log_circuit_open', 'log="https://log.example"'), 1, 0),
    at: '10m',
  },
  {
    alert: 'MayflyWitnessConflict',
    fires: { [series('mayfly_ctlog_witness_answers_total', 'witness="w",result="conflict"')]: constant(1) },
    quiet: { [series('mayfly_ctlog_witness_answers_total', 'witness="w",result="cosigned"')]: constant(1) },
    at: '5m',
  },
  {
    alert: 'MayflyStorageShort',
    ...one(series('mayfly_storage_free_bytes', 'directory="data"'), 5e8, 5e9),
    at: '15m',
  },
  {
    alert: 'MayflyIssuerKeysUnreachable',
    ...one(dependency('issuer', 'https://issuer.example'), 0, 1),
    at: '15m',
  },
  {
    alert: 'MayflyIdentityConfigRefused',
    ...one(series('mayfly_identity_config_last_reload_successful'), 0, 1),
    at: '10m',
  },
  {
    alert: 'MayflyReloadRefused',
    ...one(series('mayfly_ca_reloads_total', 'result="refused"'), '0x5 1x30', '1x40'),
    at: '10m',
  },
  {
    alert: 'MayflyReloadRefused',
    fires: { [series('mayfly_ct_logs_config_reloads_total', 'result="refused"')]: '0x5 1x30' },
    quiet: { [series('mayfly_ct_logs_config_reloads_total', 'result="loaded"')]: '0x5 1x30' },
    at: '10m',
  },
  { alert: 'MayflyAuditFails', ...one(series('mayfly_audit_available'), 0, 1), at: '5m' },
  {
    alert: 'MayflyTracesLost',
    fires: { [series('mayfly_trace_spans_total', 'result="failed"')]: '0+9x60' },
    quiet: { [series('mayfly_trace_spans_total', 'result="exported"')]: '0+9x60' },
    at: '40m',
  },
];
