import type { KeyObject } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { openDataDirectory } from '../ca/data-directory.js';
import { collectFlags } from '../config/flag-sources.js';
import { environmentName, type FlagName } from '../config/flags.js';
import { type ServeConfig, serveConfig } from '../config/serve.js';
import { readIfExists, replaceFile } from '../ctlog/durable-file.js';
import type { EmbeddedLog } from '../ctlog/log.js';
import { AppError, messageOf } from '../errors.js';
import { addFallbacks, addHealth, type Check, newApp } from '../http/app.js';
import { listen, urlHost } from '../listen.js';
import { createLogger } from '../log.js';
import type { Metrics } from '../metrics.js';
import { observeReadiness } from '../telemetry/instance-metrics.js';
import { trustFileNames } from '../trust/write.js';
import { packageVersion } from '../version.js';
import { type Closing, createClosing } from './closing.js';
import { createFront, stopListening } from './front.js';
import { publicUrlOf } from './instance.js';
import { commitObserver, createLogMetrics, observeLog } from './log-metrics.js';
import { openRootsSource, type RootsSource } from './log-roots.js';
import { openShardedLog, type ShardedLog } from './log-shards.js';
import { createMetricsServer } from './metrics-server.js';
import type { StartDeps, startServer } from './start.js';
import { watchStorage } from './storage-watch.js';

/** The flags of `mayfly serve` that `mayfly log serve` has too, with the same meaning. */
export const logServeFlags = [
  'host',
  'port',
  'metrics-host',
  'metrics-port',
  'data-dir',
  'ctlog-dir',
  'ctlog-storage',
  'ctlog-postgres',
  'ctlog-lock',
  'ctlog-witness-policy',
  'public-url',
  'http-tls-certificate',
  'http-tls-key',
  'read-header-timeout',
  'idle-connection-timeout',
  'log_type',
  'log-level',
] as const satisfies readonly FlagName[];

/** A log that is taking submissions. */
export interface RunningLog {
  /** Where HTTP listens, such as http://127.0.0.1:8080. */
  readonly url: string;
  /** Submission and monitoring prefix of the log in use, as the world knows it. */
  readonly logUrl: string;
  readonly metricsUrl: string;
  /** PEM public key of the log in use. */
  readonly publicKeyFile: string;
  readonly logger: Logger;
  /** Reads the accepted roots again. */
  reload(why: string): void;
  /** Takes no new connection, finishes what is under way, commits the last batch. */
  close(): Promise<void>;
}

/**
 * Starts a log that runs by itself, from flags by their spelling; `rootsFile` is a PEM bundle. The key is made at the
 * first start, in the data directory, which gets no CA. Throws AppError STARTUP with one sentence that names the flag or
 * file that is wrong; what was opened until then is closed again.
 */
export async function startLogServer(
  flags: Parameters<typeof startServer>[0],
  rootsFile: string,
  deps: Omit<StartDeps, 'configFile'>,
): Promise<RunningLog> {
  const settings = serveConfig(collectFlags(flags, environmentOf(deps.environment), undefined));
  // No gRPC, so no port of it that HTTP could share.
  const config = { ...settings, grpc: { ...settings.grpc, port: 0 } };
  const logger = deps.logger ?? createLogger(config.logType, config.logLevel);
  const closing = createClosing();
  try {
    return await start(config, rootsFile, {
      logger,
      metrics: createLogMetrics(packageVersion(), process.version),
      clock: deps.clock ?? Date.now,
      closing,
    });
  } catch (error) {
    await closing.close().catch((failure: unknown) => logger.error({ err: failure }, 'closing after a failed start'));
    throw error;
  }
}

/** A container may carry the variables of a CA, of which only ours are read. */
function environmentOf(environment: StartDeps['environment']): StartDeps['environment'] {
  const names = logServeFlags.map(environmentName);
  return Object.fromEntries(names.map((name) => [name, environment[name]]));
}

interface Context {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly clock: () => number;
  readonly closing: Closing;
}

async function start(config: ServeConfig, rootsFile: string, context: Context): Promise<RunningLog> {
  const { logger, metrics, closing } = context;
  const roots = openRootsSource(rootsFile, logger);
  closing.add(() => roots.close());
  // The ports are taken first: a start that cannot have them must not touch the data directory.
  const front = createFront(config);
  const port = await listen(front.server, config.http.host, config.http.port, '--port');
  closing.add(() => stopListening(front.server));
  const metricsServer = createMetricsServer(metrics);
  const metricsPort = await listen(metricsServer, config.metrics.host, config.metrics.port, '--metrics-port');
  closing.add(() => stopListening(metricsServer));
  const url = `${front.scheme}://${urlHost(config.http.host)}:${port}`;

  const opened = await open(config, url, roots, context);
  const { log, routes } = opened;
  closing.add(() => log.close());
  const publicKeyFile = await writePublicKeys(config.dataDir, opened);
  observeLog(metrics, log);
  let stopping = false;
  const app = newApp({ metrics, logger });
  const storage = await watchStorage([config.ctlogDir ?? config.dataDir], { metrics, logger });
  closing.add(async () => storage.close());
  const readiness = () => readinessChecks(log, stopping, storage.trouble());
  addHealth(app, readiness);
  observeReadiness(metrics.registry, readiness);
  for (const [path, router] of routes) app.use(path, router);
  addFallbacks(app, { metrics, logger });
  front.handle(app);
  const logUrl = opened.published.url;
  logger.info({ url, logUrl, dataDir: config.dataDir, roots: roots.current().length, publicKeyFile }, 'log is ready');
  return {
    url,
    logUrl,
    metricsUrl: `http://${urlHost(config.metrics.host)}:${metricsPort}/metrics`,
    publicKeyFile,
    logger,
    reload: (why) => roots.reload(why),
    async close() {
      stopping = true;
      logger.info('shutting down: finishing the requests in flight');
      // Before the log is closed, so that a submission under way still gets its SCT.
      await stopListening(front.server);
      await closing.close();
      logger.info('stopped');
    },
  };
}

async function open(config: ServeConfig, url: string, roots: RootsSource, { clock, logger, metrics }: Context) {
  const { dataDir, ctlogDir, logStorage } = config;
  const data = await openDataDirectory(dataDir, { clock });
  const publicUrl = await publicUrlOf(dataDir, config.publicUrl, url);
  return openShardedLog({
    dataDir,
    ctlogDir,
    logStorage,
    publicUrl,
    logKey: data.logKey,
    acceptedIssuers: () => [],
    acceptedRoots: () => roots.current(),
    onWitness: (witness, result) => metrics.logs.witnessAnswers.inc({ witness, result }),
    commits: commitObserver(metrics),
    clock,
    logger,
  });
}

function readinessChecks(log: EmbeddedLog, stopping: boolean, storage: string | undefined): Check[] {
  const readiness = log.readiness();
  return [
    stopping ? { name: 'server', ok: false, reason: 'the server is shutting down' } : { name: 'server', ok: true },
    { name: 'ct-log', ...readiness },
    storage === undefined
      ? { name: 'storage', ok: true, required: false }
      : { name: 'storage', ok: false, required: false, reason: storage },
  ];
}

/**
 * DATA-DIR/trust/ctlog.pub.pem, which CA processes take as --ct-log-public-key-path, and the keys of frozen logs, for
 * those who check them, under trust/frozen by the log's name.
 */
async function writePublicKeys(dataDir: string, { published, former }: ShardedLog): Promise<string> {
  const directory = join(dataDir, 'trust');
  for (const { url, publicKey } of former) {
    await writePublicKey(join(directory, 'frozen', `${basename(new URL(url).pathname)}.pub.pem`), publicKey);
  }
  const file = join(directory, trustFileNames.ctLogKey);
  await writePublicKey(file, published.publicKey);
  return file;
}

async function writePublicKey(file: string, key: KeyObject): Promise<void> {
  const pem = Buffer.from(String(key.export({ type: 'spki', format: 'pem' })));
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o755 });
    const present = await readIfExists(file);
    if (present !== undefined && pem.equals(present)) return;
    await replaceFile(file, `${file}.tmp`, pem, { mode: 0o644, chmod: true, sync: true });
  } catch (cause) {
    const why = messageOf(cause);
    throw new AppError('STARTUP', `the public key of the log cannot be written to ${file}: ${why}`, { cause });
  }
}
