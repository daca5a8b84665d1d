import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PrecertSubmission } from '../../src/ct/log.js';
import { type EmbeddedLogOptions, openEmbeddedLog } from '../../src/ctlog/log.js';
import { chain, issuerKeyHash } from './certificates.js';

export const origin = 'ca.example.com/ctlog';

/** Says nothing: what the log complains about is asserted through its readiness and errors. */
export const silent = { info() {}, warn() {}, error() {} };

export function newLogKey(): KeyObject {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }));
}

/** A directory that is removed by `dispose`. */
export function temporaryDirectory(): { path: string; dispose: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'mayfly-ctlog-'));
  return { path, dispose: () => rmSync(path, { recursive: true, force: true }) };
}

/** Options of a log in `directory` with real time and tight delays. */
export function logOptions(directory: string, key: KeyObject): EmbeddedLogOptions {
  return {
    storage: join(directory, 'log'),
    indexDir: join(directory, 'index'),
    key,
    origin,
    acceptedIssuers: () => [chain],
    clock: Date.now,
    logger: silent,
    publishDelayMs: 1,
    flushDelayMs: 5,
    reopenDelayMs: 1,
  };
}

export function openLog(directory: string, key: KeyObject, more: Partial<EmbeddedLogOptions> = {}) {
  return openEmbeddedLog({ ...logOptions(directory, key), ...more });
}

/** A submission as our CA makes it; the bytes need not be a certificate, because `submit` trusts its caller. */
export function submission(tbs: Uint8Array = randomBytes(40)): PrecertSubmission {
  const precertificate = createHash('sha512').update(tbs).digest();
  return { precertificate, chain, tbs, issuerKeyHash };
}
