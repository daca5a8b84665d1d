import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { readFormat, upgrades } from '../ca/data-format.js';
import { authoritiesFile, readAuthorities } from '../ca/life-cycle-file.js';
import { readPrivateFile } from '../ca/private-file.js';
import type { ServeConfig } from '../config/serve.js';
import { logKeyFiles, placeOf, readShards, type ShardBase } from '../ctlog/shards.js';
import { AppError, messageOf } from '../errors.js';
import { createFetcher } from '../identity/fetcher.js';
import { createLogger } from '../log.js';
import { createMetrics } from '../metrics.js';
import type { TrustMaterial } from '../trust/material.js';
import { readTrustConfig } from '../trust/services.js';
import { readTsaRecord } from '../tsa/history.js';
import { publishedCas } from './ca-view.js';
import { openIdentitySource } from './identity-source.js';
import { recordedPublicUrl } from './instance.js';
import { withFormerLogs } from './log-record.js';
import { publishedExternal } from './open-log.js';
import { trustedTsas } from './open-tsa.js';
import { type PublishedLog, trustMaterial } from './trust.js';

/**
 * What clients are to know of an instance, from its data directory and settings alone: the same as its server publishes,
 * while it runs or not. Throws AppError STARTUP when no server ever ran with this data directory, or a file is wrong.
 */
export async function offlineTrustMaterial(config: ServeConfig, clock: () => number): Promise<TrustMaterial> {
  const { dataDir } = config;
  const publicUrl = await recordedPublicUrl(dataDir);
  await readFormat(dataDir, upgrades);
  const authorities = await readAuthorities(dataDir);
  if (authorities === undefined) {
    throw new AppError('STARTUP', `--data-dir: ${dataDir} names no CA: there is no ${authoritiesFile} in it`);
  }
  const identity = openIdentitySource(config.identityConfigPath, config.identityConfigGiven, {
    issuers: {
      fetcher: createFetcher({ proxyFor: () => undefined }),
      clock,
      allowPrivateIssuers: config.allowPrivateIssuers,
    },
    logger: createLogger('prod', 'silent'),
    metrics: createMetrics('', ''),
  });
  try {
    return trustMaterial(
      { published: publishedCas(authorities) },
      {
        publicUrl,
        publishedLogs: await withFormerLogs(
          dataDir,
          await logsOf(config, { dataDir, ctlogDir: config.ctlogDir, publicUrl }),
          clock,
        ),
        identity,
        timestamps: { trusted: trustedTsas(await readTsaRecord(dataDir), publicUrl) },
        services: readTrustConfig(config.trustConfigPath),
      },
    );
  } finally {
    identity.close();
  }
}

async function logsOf({ ctLog }: ServeConfig, base: ShardBase): Promise<readonly PublishedLog[]> {
  if (ctLog.kind === 'none') return [];
  if (ctLog.kind === 'embedded') return embeddedLogs(base);
  const logs: PublishedLog[] = [];
  for (const log of ctLog.logs.filter(({ embed }) => embed)) {
    if (log.kind === 'external') logs.push(publishedExternal(log));
    else logs.push(...(await embeddedLogs(base)));
  }
  return logs;
}

/** The log in use, then the frozen ones, newest first. */
async function embeddedLogs(base: ShardBase): Promise<readonly PublishedLog[]> {
  const { frozen, current } = await readShards(base.dataDir);
  const publicKey = current.publicKey ?? (await publicKeyIn(logKeyFiles(base.dataDir).current));
  const start = (at: number | undefined) => (at === undefined ? {} : { start: new Date(at) });
  return [
    { url: placeOf(current.name, base).url, publicKey, ...start(current.createdAt) },
    ...[...frozen].reverse().map((shard) => ({
      url: placeOf(shard.name, base).url,
      publicKey: shard.publicKey,
      ...start(shard.createdAt),
      end: new Date(shard.lastSct ?? shard.frozenAt),
    })),
  ];
}

async function publicKeyIn(path: string): Promise<KeyObject> {
  const pem = await readPrivateFile(path);
  try {
    return createPublicKey(createPrivateKey(pem));
  } catch (cause) {
    throw new AppError('STARTUP', `the log key ${path} cannot be read: ${messageOf(cause)}`, { cause });
  }
}
