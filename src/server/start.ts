import { availableParallelism, hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { clientAddressOf } from '../client-address.js';
import { collectFlags, type FlagsGiven } from '../config/flag-sources.js';
import { type ServeConfig, serveConfig } from '../config/serve.js';
import { type FipsProbe, processFips } from '../fips.js';
import { createGrpcServer } from '../grpc/server.js';
import { type Check, createApp } from '../http/app.js';
import { shareWithGrpc } from '../http/shared-port.js';
import { loadTls } from '../http/tls.js';
import type { Issuers } from '../identity/issuers.js';
import { type OpenThread, openThreadedWork } from '../issuance/threads.js';
import { type CertificateWork, localWork } from '../issuance/work.js';
import { createLimits } from '../limits/limits.js';
import { listen, urlHost } from '../listen.js';
import { createLogger } from '../log.js';
import { createMetrics, type Metrics } from '../metrics.js';
import { observeInstance } from '../telemetry/instance-metrics.js';
import { countRejections } from '../telemetry/rejections.js';
import type { Tracing } from '../telemetry/tracing.js';
import { readTrustConfig } from '../trust/services.js';
import { packageVersion } from '../version.js';
import { trustBundleOf } from './ca-view.js';
import { type Closing, createClosing } from './closing.js';
import { configurationJson } from './configuration.js';
import { checkFipsCa, checkFipsTsa, underFips } from './fips.js';
import { createFront, type Front, sharesPort, stopListening } from './front.js';
import { createInFlight } from './in-flight.js';
import { createIssuing } from './issuing.js';
import { createMetricsServer } from './metrics-server.js';
import { openPolicy } from './open-policy.js';
import { openPageFront, openPageOf } from './page.js';
import { readinessChecks } from './readiness.js';
import { openState, type State, type StateDeps } from './state.js';
import { openTrust } from './trust.js';
import { openTuf } from './tuf.js';

/** A server that is taking requests. */
export interface RunningServer {
  /** Where HTTP listens, such as http://127.0.0.1:8080. */
  readonly url: string;
  /** The URL clients know the instance under. */
  readonly publicUrl: string;
  /** Where the page for people is; undefined without --page. */
  readonly pageUrl: string | undefined;
  readonly metricsUrl: string;
  readonly grpcPort: number;
  readonly dataDir: string;
  readonly trustDir: string;
  readonly logger: Logger;
  /** Loads the identity configuration and the certificate authorities again. */
  reload(why: string): void;
  /** Takes no new request, finishes those in flight, commits the last batch of the log. */
  close(): Promise<void>;
}

export interface StartDeps {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The file of --config. */
  readonly configFile?: string | undefined;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
  readonly logger?: Logger;
  /** What OpenSSL says of its FIPS mode. */
  readonly fips?: FipsProbe;
  /** Starts a thread that proves keys and signs; without it, the main thread does everything. */
  readonly openThread?: OpenThread;
}

/** How long a shutdown waits for calls in flight before it cuts them off. */
const graceMs = 15_000;

/**
 * Starts everything `mayfly serve` runs, from flags by their spelling. Throws AppError STARTUP with one sentence that
 * names the flag or file that is wrong; what was opened until then is closed again.
 */
export async function startServer(flags: FlagsGiven, deps: StartDeps): Promise<RunningServer> {
  const settings = serveConfig(collectFlags(flags, deps.environment, deps.configFile));
  const config = underFips(settings, deps.fips ?? processFips);
  const logger = deps.logger ?? openLogger(config);
  for (const notice of config.notices) logger.warn(notice);
  const closing = createClosing();
  try {
    return await start(config, logger, deps, closing);
  } catch (error) {
    await closing.close().catch((failure: unknown) => logger.error({ err: failure }, 'closing after a failed start'));
    throw error;
  }
}

/** Standard output may be the audit trail's, and then holds nothing else. */
function openLogger({ logType, logLevel, audit }: ServeConfig): Logger {
  return createLogger(logType, logLevel, audit?.path === '-' ? 'stderr' : 'stdout');
}

async function start(config: ServeConfig, logger: Logger, deps: StartDeps, closing: Closing): Promise<RunningServer> {
  const clock = deps.clock ?? Date.now;
  const services = readTrustConfig(config.trustConfigPath);
  const metrics = createMetrics(packageVersion(), process.version);
  // The ports are taken first: a start that cannot have them must not touch the data directory.
  const front = createFront(config);
  const port = await listen(front.server, config.http.host, config.http.port, '--port');
  closing.add(() => stopListening(front.server));
  const metricsServer = createMetricsServer(metrics);
  const metricsPort = await listen(metricsServer, config.metrics.host, config.metrics.port, '--metrics-port');
  closing.add(() => stopListening(metricsServer));
  const url = `${front.scheme}://${urlHost(config.http.host)}:${port}`;
  const pageFront = await openPageFront(config, closing);

  const tracing = await traces(config, metrics, logger);
  if (tracing !== undefined) closing.add(() => tracing.close());
  const inFlight = createInFlight();
  const opening = { environment: deps.environment, logger, metrics, clock, closing, inFlight, tracing };
  const state = await openState(config, url, opening);
  const work = openWork(config, opening, deps.openThread);
  closing.add(() => work.close());
  const limits = createLimits(config.limits, {
    now: () => performance.now(),
    random: Math.random,
    logger,
    registry: metrics.registry,
  });
  const policy = openPolicy(config, { ...opening, identity: state.identity });
  const lifetimeMs = config.certificateLifetimeMs;
  const service = {
    issue: createIssuing(config, { ...state, policy, work, logger, metrics, clock, inFlight, limits, tracing }),
    intake: limits,
    maxConnections: config.maxConnections,
    trustBundle: () => trustBundleOf(state.cas.view()),
    configuration: () => configurationJson(state.identity.current()),
    readiness: () => readinessChecks({ ...state, policy, lifetimeMs, clock, stopping: inFlight.draining }),
    metrics,
    tracing,
    onRejection: countRejections(metrics, state.issuerNames),
    logger,
    requestTimeoutMs: config.requestTimeoutMs,
    clientAddress: clientAddressOf(config.trustedProxies),
  };
  const { readiness } = service;
  const issuers = (): Issuers => state.identity.current();
  observeInstance(metrics, { readiness, issuers, names: state.issuerNames, work });
  const trust = openTrust(config.dataDir, {
    ...state,
    services,
    // A reload changes it, and a copy would not.
    get publishedLogs() {
      return state.publishedLogs;
    },
  });
  const tuf = openTuf({ ...tufPlaces(config), trustDir: trust.directory, logger, metrics, clock });
  closing.add(() => tuf.close());
  const published = async (written: Promise<void>): Promise<void> => {
    await written;
    void tuf.look();
  };
  state.logs.beforeChange(() => published(trust.refresh()));
  state.identity.onChange(() => {
    published(trust.refresh()).catch((error: unknown) =>
      logger.error({ err: error }, 'the trust files are out of date'),
    );
  });
  checkFipsTsa(config, state.timestamps);
  await state.cas.beforeChange((view) => {
    checkFipsCa(config, view);
    return published(trust.publish(view));
  });
  const trustDir = trust.directory;
  const page = openPageOf(config, pageFront?.front, {
    state,
    services,
    trust,
    ...opening,
    readiness,
    tufDir: tufPlaces(config).dir,
  });
  front.handle(
    createApp({
      ...service,
      trustFiles: trust.files,
      ...page,
      tsaRoutes: state.timestamps.routes,
      tufRoutes: tuf.routes,
    }),
  );
  const grpcPort = await startGrpc(config, front, service, closing);
  closing.add(() => inFlight.drain());
  const pageUrl = config.page === undefined ? undefined : (pageFront?.url ?? `${url}/`);
  announce(config, state, logger, readiness(), { url, pageUrl, grpcPort, trustDir });
  return {
    url,
    publicUrl: state.publicUrl,
    pageUrl,
    metricsUrl: `http://${urlHost(config.metrics.host)}:${metricsPort}/metrics`,
    grpcPort: grpcPort ?? port,
    dataDir: config.dataDir,
    trustDir,
    logger,
    reload(why) {
      state.identity.reload(why);
      void state.cas.reload(why);
      void state.logs.reload(why);
      state.audit.reopen();
    },
    async close() {
      logger.info('shutting down: finishing the requests in flight');
      await closing.close();
      logger.info('stopped');
    },
  };
}

/** One thread for each core but the first, which the main thread keeps busy with HTTP and the log. */
function openWork(
  config: ServeConfig,
  { logger, metrics, inFlight }: Pick<StateDeps, 'logger' | 'metrics' | 'inFlight'>,
  openThread: OpenThread | undefined,
): CertificateWork {
  const count = config.workers === 'auto' ? availableParallelism() - 1 : config.workers;
  const onReplace = (): void => metrics.threadReplacements.inc();
  return openThread === undefined || count === 0
    ? localWork
    : openThreadedWork({ count, openThread, logger, onReplace, isAlone: () => inFlight.active() === 1 });
}

/** Loads OpenTelemetry only for those who want traces: it takes as long to load as the rest of the server. */
async function traces({ tracing }: ServeConfig, { registry }: Metrics, logger: Logger): Promise<Tracing | undefined> {
  if (tracing === undefined) return undefined;
  const { openTracing } = await import('../telemetry/otel.js');
  return openTracing(tracing, { version: packageVersion(), instance: hostname(), registry, logger });
}

function tufPlaces({ dataDir, tufDir }: ServeConfig) {
  return {
    dir: tufDir ?? join(dataDir, 'tuf'),
    keysDir: join(dataDir, 'keys/tuf'),
    offlineDir: join(dataDir, 'tuf-offline'),
  };
}

type GrpcService = Parameters<typeof createGrpcServer>[0];

/** Serves gRPC on its own port and resolves with it, or on the HTTP port and resolves with undefined. */
async function startGrpc(
  config: ServeConfig,
  front: Front,
  service: GrpcService,
  closing: Closing,
): Promise<number | undefined> {
  const grpc = createGrpcServer({ ...service, idleConnectionTimeoutMs: config.idleConnectionTimeoutMs });
  closing.add(() => grpc.close(graceMs));
  if (sharesPort(config)) {
    const shared = shareWithGrpc(front.server, grpc.accept, config.readHeaderTimeoutMs);
    closing.add(() => shared.close());
    return undefined;
  }
  const { host, port, tls } = config.grpc;
  return grpc.listen({ host, port, ...(tls === undefined ? {} : { tls: loadTls(tls, 'grpc') }) });
}

function announce(
  config: ServeConfig,
  state: State,
  logger: Logger,
  checks: readonly Check[],
  where: { url: string; pageUrl: string | undefined; grpcPort: number | undefined; trustDir: string },
): void {
  if (state.ctLog === undefined) {
    logger.warn('CT IS OFF (--ct-log-url=""): certificates are issued without SCT, and nothing records that they were');
  }
  const missing = checks.filter(({ ok, required }) => required && !ok);
  const ready = missing.length === 0;
  const entry = {
    ...where,
    publicUrl: state.publicUrl,
    dataDir: config.dataDir,
    ca: state.caName,
    ctLog: state.ctLog?.name ?? 'none',
    issuers: state.identity.current().list().length,
    ...(ready ? {} : { missing: missing.map(({ name, reason }) => `${name}: ${reason}`) }),
  };
  logger[ready ? 'info' : 'warn'](entry, ready ? 'mayfly is ready' : 'mayfly is running but NOT ready');
}
