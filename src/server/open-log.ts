import { createPublicKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import type { Router } from 'express';
import type { Logger } from 'pino';
import type { CertificateAuthority } from '../ca/authority.js';
import type { DataDirectory } from '../ca/data-directory.js';
import type { CtLogChoice, ServeConfig } from '../config/serve.js';
import { openExternalLog } from '../ct/external-log.js';
import type { CtLog } from '../ct/log.js';
import { openEmbeddedLog } from '../ctlog/log.js';
import { ctlogRoutes } from '../ctlog/routes.js';
import { AppError, messageOf } from '../errors.js';
import { logOrigin } from './instance.js';
import { readFlagFile } from './open-ca.js';
import type { PublishedLog } from './trust.js';

export interface OpenedLog {
  readonly ctLog: CtLog;
  /** The reading and submitting endpoints; only our own log has them here. */
  readonly routes: Router | undefined;
  readonly published: PublishedLog;
}

export interface OpenLogDeps {
  readonly ca: CertificateAuthority;
  readonly data: DataDirectory;
  readonly publicUrl: string;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** Opens the log the settings name; undefined when the operator turned CT off. Throws AppError STARTUP. */
export async function openLog(config: ServeConfig, deps: OpenLogDeps): Promise<OpenedLog | undefined> {
  if (config.ctLog.kind === 'none') return undefined;
  return config.ctLog.kind === 'external' ? external(config.ctLog, deps) : embedded(config, deps);
}

async function embedded(config: ServeConfig, { ca, data, publicUrl, logger, clock }: OpenLogDeps): Promise<OpenedLog> {
  const log = await openEmbeddedLog({
    storage: config.ctlogDir ?? join(config.dataDir, 'ctlog'),
    indexDir: join(config.dataDir, 'ctlog-index'),
    key: data.logKey,
    origin: logOrigin(publicUrl),
    acceptedIssuers: () => [ca.chain],
    clock,
    logger,
  });
  return {
    ctLog: log,
    routes: ctlogRoutes(log),
    published: { url: `${publicUrl}/ctlog`, publicKey: log.publicKey },
  };
}

function external(choice: Extract<CtLogChoice, { kind: 'external' }>, { logger, clock }: OpenLogDeps): OpenedLog {
  const publicKey = logKey(choice.publicKeyPath);
  const ctLog = openExternalLog({
    url: choice.url,
    publicKey,
    clock,
    timeoutMs: choice.timeoutMs,
    logger,
    ...(choice.origin === undefined ? {} : { hostHeader: choice.origin }),
    ...(choice.tlsCaPath === undefined ? {} : { caCert: readFlagFile('--ct-log.tls-ca-cert', choice.tlsCaPath) }),
  });
  return { ctLog, routes: undefined, published: { url: choice.url, publicKey } };
}

function logKey(path: string): KeyObject {
  const pem = readFlagFile('--ct-log-public-key-path', path);
  try {
    return createPublicKey(pem);
  } catch (error) {
    throw new AppError('STARTUP', `--ct-log-public-key-path: ${path} is no PEM public key: ${messageOf(error)}`);
  }
}
