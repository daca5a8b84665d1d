import { createPublicKey, type KeyObject } from 'node:crypto';
import type { Router } from 'express';
import type { Logger } from 'pino';
import type { DataDirectory } from '../ca/data-directory.js';
import type { ExternalLogChoice, LogChoice, PemSource } from '../config/ct-logs.js';
import type { ServeConfig } from '../config/serve.js';
import { type ExternalLog, openExternalLog } from '../ct/external-log.js';
import type { CtLog } from '../ct/log.js';
import { observedLog } from '../ct/observed-log.js';
import type { TemporalInterval } from '../ct/temporal-interval.js';
import type { EmbeddedLog } from '../ctlog/log.js';
import { AppError, messageOf } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { lateObserver } from '../telemetry/late.js';
import type { Tracing } from '../telemetry/tracing.js';
import type { CaSource } from './ca-source.js';
import { acceptedChains } from './ca-view.js';
import { readFlagFile } from './flag-files.js';
import { commitObserver, observeLog } from './log-metrics.js';
import { type EntrySearch, openShardedLog } from './log-shards.js';
import type { PublishedLog } from './trust.js';

export interface OpenLogDeps {
  readonly cas: Pick<CaSource, 'current' | 'view'>;
  readonly data: DataDirectory;
  readonly publicUrl: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly tracing?: Tracing | undefined;
  readonly clock: () => number;
  /** How many certificate requests the server works on. */
  readonly underWay: () => number;
}

/** One log of the settings, opened. */
export interface Member {
  /** What was opened: the same for a choice that differs only in how the log is used. */
  readonly identity: string;
  readonly log: CtLog;
  readonly embed: boolean;
  readonly interval?: TemporalInterval;
  readonly published: PublishedLog;
  /** Frozen logs before it, whose SCTs stay valid. */
  readonly former?: readonly PublishedLog[];
  readonly routes?: ReadonlyMap<string, Router>;
  readonly readable?: ReadonlyMap<string, EmbeddedLog>;
  readonly external?: ExternalLog;
  readonly treeHeadTime?: () => number;
  /** Only of our own logs: see ShardedLog. */
  readonly findEntry?: (key: Uint8Array) => EntrySearch;
}

/** Opens the log of a choice, or takes the one among `open` that it means; throws AppError STARTUP. */
export async function openMember(
  choice: LogChoice,
  config: ServeConfig,
  deps: OpenLogDeps,
  open: readonly Member[] = [],
): Promise<Member> {
  const identity = identityOf(choice);
  const known = open.find((member) => member.identity === identity);
  if (choice.kind === 'embedded') return { ...(known ?? (await embedded(config, deps))), embed: choice.embed };
  const { embed, interval } = choice;
  const { log, external } =
    known?.external === undefined ? opened(choice, deps) : { ...known, external: known.external };
  const published = publishedExternal(choice);
  return { identity, log, external, published, embed, ...(interval === undefined ? {} : { interval }) };
}

/** An external log as the settings describe it; throws AppError STARTUP for a key that cannot be read. */
export function publishedExternal({ url, monitoringUrl, publicKey }: ExternalLogChoice): PublishedLog {
  return { url: monitoringUrl ?? url, publicKey: logKey(publicKey) };
}

/** Files are part of it by what they hold, so that a replaced key is another log. */
function identityOf(choice: LogChoice): string {
  if (choice.kind === 'embedded') return 'embedded';
  const { url, publicKey, origin, tlsCa, timeoutMs } = choice;
  return JSON.stringify([url, pemOf(publicKey), origin, tlsCa && pemOf(tlsCa), timeoutMs]);
}

async function embedded({ dataDir, ctlogDir, logStorage }: ServeConfig, deps: OpenLogDeps) {
  const { cas, data, publicUrl, logger, metrics, tracing, clock, underWay } = deps;
  const sharded = await openShardedLog({
    dataDir,
    ctlogDir,
    logStorage,
    publicUrl,
    logKey: data.logKey,
    acceptedIssuers: () => acceptedChains(cas.view(), clock()),
    onWitness: (witness, result) => metrics.logs.witnessAnswers.inc({ witness, result }),
    commits: commitObserver(metrics, tracing),
    underWay,
    clock,
    logger,
  });
  const { log } = sharded;
  observeLog(metrics, log);
  return { ...sharded, identity: 'embedded', log: observed(log, deps), treeHeadTime: () => log.treeHead().timestamp };
}

function opened(choice: ExternalLogChoice, deps: OpenLogDeps) {
  const { url, origin, tlsCa, timeoutMs } = choice;
  const { logger, clock, metrics, tracing } = deps;
  const external = openExternalLog({
    url,
    publicKey: logKey(choice.publicKey),
    clock,
    timeoutMs,
    logger,
    onCircuit: (open) => metrics.logs.circuitOpen.set({ log: url }, open ? 1 : 0),
    headers: tracing && (() => tracing.headers()),
    ...(origin === undefined ? {} : { hostHeader: origin }),
    ...(tlsCa === undefined ? {} : { caCert: pemOf(tlsCa) }),
  });
  metrics.logs.circuitOpen.set({ log: url }, 0);
  return { external, log: observed(external, deps) };
}

function observed(log: CtLog, { metrics, tracing }: OpenLogDeps): CtLog {
  const { name } = log;
  const took = lateObserver(metrics.logs.seconds, { log: name });
  const observe = (result: string, taken: number): void => {
    metrics.logs.submissions.inc({ log: name, result });
    // A log that was not asked took no time.
    if (result !== 'left_alone') took(taken);
  };
  const counted = observedLog(log, observe, () => performance.now());
  if (tracing === undefined) return counted;
  const attributes = { 'mayfly.log': log.name };
  return {
    ...counted,
    submit: (submission, signal, signSct) =>
      tracing.span('log submit', attributes, () => counted.submit(submission, signal, signSct)),
  };
}

function logKey(source: PemSource): KeyObject {
  const pem = pemOf(source);
  try {
    return createPublicKey(pem);
  } catch (error) {
    const found = 'path' in source ? source.path : 'the text';
    throw new AppError('STARTUP', `${source.setting}: ${found} is no PEM public key: ${messageOf(error)}`);
  }
}

function pemOf(source: PemSource): string {
  return 'pem' in source ? source.pem : readFlagFile(source.setting, source.path);
}
