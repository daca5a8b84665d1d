import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Router } from 'express';
import type { Logger } from 'pino';
import type { ServeConfig } from '../config/serve.js';
import type { EmbeddedLog } from '../ctlog/log.js';
import { AppError } from '../errors.js';
import { addFallbacks, addHealth, type Check, newApp } from '../http/app.js';
import { listen, urlHost } from '../listen.js';
import type { Metrics } from '../metrics.js';
import type { ExploredLog } from '../page/api.js';
import { openPage, type Page } from '../page/routes.js';
import type { OperatorServices } from '../trust/services.js';
import { packageVersion } from '../version.js';
import type { Closing } from './closing.js';
import { createFront, type Front, stopListening } from './front.js';
import type { State } from './state.js';
import { type Trust, trustMaterial } from './trust.js';

export interface PageDeps {
  readonly state: State;
  readonly services: OperatorServices;
  readonly trust: Pick<Trust, 'files'>;
  readonly readiness: () => readonly Check[];
  readonly tufDir: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly closing: Closing;
}

/** Listens on --page-port, if there is one, with the TLS of the HTTP port; throws AppError STARTUP. */
export async function openPageFront(
  config: ServeConfig,
  closing: Closing,
): Promise<{ readonly front: Front; readonly url: string } | undefined> {
  const listener = config.page?.listener;
  if (listener === undefined) return undefined;
  const front = createFront({ ...config, http: { ...config.http, ...listener } });
  const port = await listen(front.server, listener.host, listener.port, '--page-port');
  closing.add(() => stopListening(front.server));
  return { front, url: `${front.scheme}://${urlHost(listener.host)}:${port}/` };
}

/** What the HTTP port serves of page and log. */
export interface PageRoutes {
  readonly pageRoutes?: Router;
  readonly ctlogRoutes: ReadonlyMap<string, Router>;
}

/** Opens the page of --page; with a listener of its own it goes there, and the reads of the log go with it. */
export function openPageOf(config: ServeConfig, front: Front | undefined, deps: PageDeps): PageRoutes {
  const { ctlogRoutes } = deps.state;
  if (config.page === undefined) return { ctlogRoutes };
  const page = pageOf(config, deps);
  deps.closing.add(() => page.close());
  if (front === undefined) return { pageRoutes: page.routes, ctlogRoutes };
  const { metrics, logger, readiness } = deps;
  const app = newApp({ metrics, logger });
  app.use(page.routes);
  addHealth(app, readiness);
  for (const [path, routes] of ctlogRoutes) app.use(path, only(isRead, routes));
  addFallbacks(app, { metrics, logger });
  front.handle(app);
  const submissions = [...ctlogRoutes].map(
    ([path, routes]) => [path, only((method) => !isRead(method), routes)] as const,
  );
  return { ctlogRoutes: new Map(submissions) };
}

function pageOf(config: ServeConfig, deps: PageDeps): Page {
  const { state, services, readiness, trust, tufDir, logger, clock } = deps;
  const { publicUrl, identity, cas, timestamps } = state;
  return openPage({
    logs: exploredLogs(state.readableLogs, config),
    notices: noticesOf(config, state.readableLogs),
    indexDir: join(config.dataDir, 'page-index'),
    clock,
    logger,
    instance: () => ({
      publicUrl,
      base: config.page?.listener === undefined ? '' : `${publicUrl}/`,
      version: packageVersion(),
      certificateLifetimeMs: config.certificateLifetimeMs,
      checks: readiness(),
      issuers: identity.current().list(),
      cas: cas.view().published,
      material: trustMaterial(cas.view(), {
        publicUrl,
        publishedLogs: state.publishedLogs,
        identity,
        timestamps,
        services,
      }),
      trustFiles: [...trust.files().keys()],
      hasTuf: existsSync(join(tufDir, 'root.json')),
      hasTimestamps: timestamps.routes !== undefined,
    }),
  });
}

function exploredLogs(logs: ReadonlyMap<string, EmbeddedLog>, { logStorage }: ServeConfig): Map<string, ExploredLog> {
  const noSearch =
    logStorage.objects === undefined
      ? undefined
      : 'there is no search here, because this log is in an object store that would have to be read as a whole';
  return new Map([...logs].map(([name, log], i) => [name, { log, isFrozen: i > 0, noSearch }]));
}

/** What the explorer does not show, because this instance does not have it. */
function noticesOf({ ctLog }: ServeConfig, logs: ReadonlyMap<string, EmbeddedLog>): string[] {
  if (ctLog.kind === 'none') return ['This instance issues without a log, so there is nothing to look into.'];
  const all = ctLog.kind === 'several' ? ctLog.logs : [];
  const external = all.flatMap((log) => (log.kind === 'external' ? [log.monitoringUrl ?? log.url] : []));
  if (external.length === 0) return [];
  const which = external.length === 1 ? 'an external log' : 'external logs';
  const seen = logs.size === 0 ? 'can look into' : 'shows';
  return [`Certificates go into ${which}: ${external.join(', ')}. The explorer ${seen} this instance's own logs only.`];
}

const isRead = (method: string): boolean => method === 'GET' || method === 'HEAD';

/** The routes for some methods; for the others there is nothing. */
function only(takes: (method: string) => boolean, routes: Router): Router {
  const router = Router({ caseSensitive: true, strict: true });
  router.use((request, _response, next) => {
    if (!takes(request.method)) throw new AppError('NOT_FOUND', '');
    next();
  });
  return router.use(routes);
}
