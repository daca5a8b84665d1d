import { join } from 'node:path';
import type { Router } from 'express';
import type { Logger } from 'pino';
import { type Audit, noAudit, openAudit } from '../audit/audit.js';
import type { CertificateAuthority } from '../ca/authority.js';
import { offlineRootPresent, openDataDirectory } from '../ca/data-directory.js';
import { usesEmbeddedLog } from '../config/ct-logs.js';
import type { ServeConfig } from '../config/serve.js';
import type { CtLogs } from '../ct/log.js';
import type { EmbeddedLog } from '../ctlog/log.js';
import { AppError } from '../errors.js';
import { createFetcher } from '../identity/fetcher.js';
import { proxyFromEnv } from '../identity/proxy.js';
import type { Metrics } from '../metrics.js';
import { type IssuerNames, issuerNames } from '../telemetry/issuer-label.js';
import { tracedFetcher } from '../telemetry/traced-fetcher.js';
import type { Tracing } from '../telemetry/tracing.js';
import { openTokenStore, type TokenStore } from '../token-reuse.js';
import { packageVersion } from '../version.js';
import type { CaSource } from './ca-source.js';
import type { Closing } from './closing.js';
import { type IdentitySource, openIdentitySource } from './identity-source.js';
import type { InFlight } from './in-flight.js';
import { publicUrlOf } from './instance.js';
import { openCas } from './open-ca.js';
import { type OpenedLogs, openLog } from './open-log.js';
import { openTimestamps, type Timestamps } from './open-tsa.js';
import { watchStorage } from './storage-watch.js';
import type { PublishedLog } from './trust.js';

/** What a running server holds open. */
export interface State {
  readonly publicUrl: string;
  readonly identity: IdentitySource;
  /** Issuers as metrics name them. */
  readonly issuerNames: IssuerNames;
  readonly ca: () => CertificateAuthority;
  /** The same CAs with what comes and what was: changes are to be had here. */
  readonly cas: CaSource;
  readonly signerTrouble: () => string | undefined;
  readonly caRefusal: () => string | undefined;
  /** For log lines: which CA it is. */
  readonly caName: string;
  readonly ctLog: CtLogs | undefined;
  /** Our own logs by path; empty with external logs. */
  readonly ctlogRoutes: ReadonlyMap<string, Router>;
  /** Our own logs for the page, by name; the one in use first. */
  readonly readableLogs: ReadonlyMap<string, EmbeddedLog>;
  /** Reads as it is now: a reload changes it. */
  readonly publishedLogs: readonly PublishedLog[];
  readonly logs: Pick<OpenedLogs, 'beforeChange' | 'reload' | 'each'>;
  readonly tokens: TokenStore | undefined;
  readonly timestamps: Timestamps;
  readonly audit: Audit;
  /** Why what is to be written soon may not be. */
  readonly storageTrouble: () => string | undefined;
}

export interface StateDeps {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly clock: () => number;
  readonly closing: Closing;
  readonly inFlight: InFlight;
  /** Undefined: no traces. */
  readonly tracing?: Tracing | undefined;
}

/**
 * Opens identity configuration, data directory, CA, log and token store, in that order: what is cheap to get wrong comes
 * before what leaves traces on disk. `listenUrl` names the instance when nothing else does.
 */
export async function openState(config: ServeConfig, listenUrl: string, deps: StateDeps): Promise<State> {
  const { clock, closing, logger, metrics, tracing } = deps;
  const names = issuerNames(() => identity.current());
  const identity = openIdentitySource(config.identityConfigPath, config.identityConfigGiven, {
    issuers: {
      fetcher: tracedFetcher(createFetcher({ proxyFor: proxyFromEnv(deps.environment) }), tracing),
      clock,
      allowPrivateIssuers: config.allowPrivateIssuers,
      onFetch: (issuer, error) => {
        metrics.keyFetches.inc({ issuer: names.of(issuer), result: error === undefined ? 'ok' : 'failed' });
        if (error !== undefined) logger.warn({ issuer, err: error.cause }, error.detail);
      },
    },
    logger,
    metrics,
  });
  closing.add(() => identity.close());
  const alone = usesEmbeddedLog(config.ctLog) && config.logStorage.objects === undefined;
  if (config.tokenReuse === 'deny' && !alone) {
    throw new AppError(
      'STARTUP',
      '--token-reuse deny needs the embedded log in a directory, which one server holds: otherwise several servers may run side by side, and there is no ' +
        'store yet that they share, so each would accept a token once',
    );
  }
  const data = await openDataDirectory(config.dataDir, { clock });

  const publicUrl = await publicUrlOf(config.dataDir, config.publicUrl, listenUrl);
  const cas = await openCas(config, data, { ...deps, settled: () => deps.inFlight.settled() });
  closing.add(() => cas.close());
  if (offlineRootPresent(config.dataDir)) {
    logger.warn(
      { directory: join(config.dataDir, 'offline') },
      'the root key still lies beside the server, which never needs it: move the directory offline/ to a safe place',
    );
  }
  const underWay = deps.inFlight.active;
  const log = await openLog(config, { cas, data, publicUrl, logger, metrics, tracing, clock, underWay });
  closing.add(() => log.close());
  const { dataDir, ctlogDir } = config;
  const storage = await watchStorage(alone && ctlogDir !== undefined ? [dataDir, ctlogDir] : [dataDir], {
    metrics,
    logger,
  });
  closing.add(async () => storage.close());
  const audit = await openTrail(config, { ...deps, publicUrl, log });
  closing.add(() => audit.close());
  const lowest = log.treeHeadTime ?? (() => 0);
  const { environment } = deps;
  const timestamps = await openTimestamps(config, publicUrl, { environment, logger, metrics, clock, lowest });
  closing.add(() => timestamps.close());
  const tokens =
    config.tokenReuse === 'deny' ? openTokenStore({ directory: join(config.dataDir, 'tokens'), clock }) : undefined;
  if (tokens !== undefined) closing.add(() => tokens.close());
  return {
    publicUrl,
    identity,
    issuerNames: names,
    ca: cas.current,
    cas,
    signerTrouble: cas.signerTrouble,
    caRefusal: cas.refusal,
    caName: config.ca.kind,
    ctLog: log.ctLog,
    ctlogRoutes: log.routes,
    readableLogs: log.readable,
    logs: log,
    get publishedLogs() {
      return log.published();
    },
    tokens,
    timestamps,
    audit,
    storageTrouble: storage.trouble,
  };
}

/** After the log, which knows what became of the intents of a server that was killed. */
async function openTrail(
  { audit }: ServeConfig,
  { publicUrl, log, metrics, logger, clock }: StateDeps & { readonly publicUrl: string; readonly log: OpenedLogs },
): Promise<Audit> {
  if (audit === undefined) return noAudit;
  return openAudit(audit, {
    instance: publicUrl,
    version: packageVersion(),
    registry: metrics.registry,
    logger,
    clock,
    findEntry: (key) => {
      const { found, complete } = log.findEntry(key);
      const logs = found.map(({ logId, index }) => ({ id: Buffer.from(logId).toString('hex'), index }));
      if (logs.length > 0) return { outcome: 'logged-not-returned', logs };
      return { outcome: complete ? 'not-logged' : 'unknown' };
    },
  });
}
