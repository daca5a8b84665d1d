import { createPublicKey, type KeyObject } from 'node:crypto';
import type { Router } from 'express';
import type { Logger } from 'pino';
import type { DataDirectory } from '../ca/data-directory.js';
import type { ExternalLogChoice, LogChoice, PemSource } from '../config/ct-logs.js';
import type { ServeConfig } from '../config/serve.js';
import { checkAcceptedRoots } from '../ct/accepted-roots.js';
import { type ExternalLog, openExternalLog } from '../ct/external-log.js';
import type { CtLog, CtLogs } from '../ct/log.js';
import { openLogSet } from '../ct/log-set.js';
import { AppError, messageOf } from '../errors.js';
import type { CaSource } from './ca-source.js';
import { acceptedChains } from './ca-view.js';
import { readFlagFile } from './flag-files.js';
import { openShardedLog } from './log-shards.js';
import type { PublishedLog } from './trust.js';

export interface OpenedLogs {
  readonly ctLog: CtLogs;
  /** The reading and submitting endpoints by path, such as `/ctlog`; only our own log has them here. */
  readonly routes: ReadonlyMap<string, Router>;
  /** Every log whose SCTs a certificate may carry. */
  readonly published: readonly PublishedLog[];
  /** Time of our own log's tree head, in milliseconds since the epoch. */
  readonly treeHeadTime?: () => number;
}

export interface OpenLogDeps {
  readonly cas: Pick<CaSource, 'current' | 'view'>;
  readonly data: DataDirectory;
  readonly publicUrl: string;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** One log of the settings, opened. */
interface Member {
  readonly log: CtLog;
  readonly embed: boolean;
  readonly published: PublishedLog;
  /** Frozen logs before it, whose SCTs stay valid. */
  readonly former?: readonly PublishedLog[];
  readonly routes?: ReadonlyMap<string, Router>;
  readonly external?: ExternalLog;
  readonly treeHeadTime?: () => number;
}

/**
 * Opens the logs the settings name; undefined when the operator turned CT off. External logs are asked for their roots
 * in the background, and the operator is told what they answer. Throws AppError STARTUP.
 */
export async function openLog(config: ServeConfig, deps: OpenLogDeps): Promise<OpenedLogs | undefined> {
  const choice = config.ctLog;
  if (choice.kind === 'none') return undefined;
  const { logs, required } =
    choice.kind === 'several' ? choice : { logs: [{ kind: 'embedded', embed: true } as const], required: 1 };
  const members: Member[] = [];
  try {
    for (const log of logs) members.push(await openMember(log, config, deps));
    const { logger } = deps;
    const treeHeadTime = members.find((member) => member.treeHeadTime !== undefined)?.treeHeadTime;
    return {
      ...(treeHeadTime === undefined ? {} : { treeHeadTime }),
      ctLog: watched(openLogSet({ members, required, logger }), members, deps),
      routes: new Map(members.flatMap(({ routes }) => [...(routes ?? [])])),
      published: members.filter(({ embed }) => embed).flatMap(({ published, former = [] }) => [published, ...former]),
    };
  } catch (error) {
    for (const { log } of members) await log.close();
    throw error;
  }
}

async function openMember(choice: LogChoice, config: ServeConfig, deps: OpenLogDeps): Promise<Member> {
  const { embed } = choice;
  if (choice.kind === 'embedded') {
    const own = await embedded(config, deps);
    return { ...own, embed, treeHeadTime: () => own.log.treeHead().timestamp };
  }
  const { log, published } = external(choice, deps);
  return { log, embed, published, external: log };
}

function embedded(
  { dataDir, ctlogDir, logStorage }: ServeConfig,
  { cas, data, publicUrl, logger, clock }: OpenLogDeps,
) {
  const acceptedIssuers = () => acceptedChains(cas.view(), clock());
  return openShardedLog({
    dataDir,
    ctlogDir,
    logStorage,
    publicUrl,
    logKey: data.logKey,
    acceptedIssuers,
    clock,
    logger,
  });
}

function external(choice: ExternalLogChoice, { logger, clock }: OpenLogDeps) {
  const { url, monitoringUrl, origin, tlsCa, timeoutMs } = choice;
  const publicKey = logKey(choice.publicKey);
  const log = openExternalLog({
    url,
    publicKey,
    clock,
    timeoutMs,
    logger,
    ...(origin === undefined ? {} : { hostHeader: origin }),
    ...(tlsCa === undefined ? {} : { caCert: pemOf(tlsCa) }),
  });
  const published: PublishedLog = { url: monitoringUrl ?? url, publicKey };
  return { log, published };
}

/** The same logs, with each external one asked for its roots until the answer is there or the logs are closed. */
function watched(logs: CtLogs, members: readonly Member[], { cas, logger }: OpenLogDeps): CtLogs {
  const closing = new AbortController();
  const checks = members.map(({ external: log }) =>
    log === undefined ? undefined : checkAcceptedRoots(log, cas.current().chain, logger, closing.signal),
  );
  return {
    ...logs,
    async close() {
      closing.abort();
      await Promise.all(checks);
      await logs.close();
    },
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
