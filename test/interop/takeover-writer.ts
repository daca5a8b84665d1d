import { createHash, createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { PrecertSubmission, Sct } from '../../src/ct/log.js';
import { type EmbeddedLog, openEmbeddedLog } from '../../src/ctlog/log.js';
import { openObjectStorage } from '../../src/ctlog/object-storage.js';
import type { S3Options } from '../../src/ctlog/s3-objects.js';

/** What a writer process is told, as JSON in a file. */
export interface WriterSettings {
  readonly s3: S3Options;
  readonly postgres: string;
  readonly leaseMs: number;
  readonly indexDir: string;
  readonly port: number;
  readonly origin: string;
  /** PEM. */
  readonly key: string;
  /** DER in base64, issuing CA first. */
  readonly chain: readonly string[];
  readonly issuerKeyHash: string;
}

/** An SCT as the process answers it, its bytes in base64. */
export interface WireSct {
  readonly logId: string;
  readonly timestamp: string;
  readonly extensions: string;
  readonly signature: string;
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'base64');

/** The submission that a TBSCertificate stands for, the same here and in the test. */
export function submissionOf(
  tbs: Uint8Array,
  { chain, issuerKeyHash }: Pick<WriterSettings, 'chain' | 'issuerKeyHash'>,
): PrecertSubmission {
  const precertificate = createHash('sha512').update(tbs).digest();
  return { precertificate, chain: chain.map(bytesOf), tbs, issuerKeyHash: bytesOf(issuerKeyHash) };
}

export function fromWire({ logId, timestamp, extensions, signature }: WireSct): Sct {
  const bytes = { logId: bytesOf(logId), extensions: bytesOf(extensions), signature: bytesOf(signature) };
  return { ...bytes, timestamp: BigInt(timestamp) };
}

function toWire({ logId, timestamp, extensions, signature }: Sct): WireSct {
  const bytes = { logId: base64(logId), extensions: base64(extensions), signature: base64(signature) };
  return { ...bytes, timestamp: `${timestamp}` };
}

/**
 * A process that is the log's writer or its standby. `GET /alive` answers 200 at once, `GET /ready` when it is the
 * writer; `POST /submit` takes a TBSCertificate and answers its SCT.
 */
export async function runWriter(settingsPath: string): Promise<void> {
  const settings = JSON.parse(readFileSync(settingsPath, 'utf8')) as WriterSettings;
  const say = (...parts: unknown[]) => process.stdout.write(`${Date.now()} ${parts.at(-1)}\n`);
  const logger = { info: say, warn: say, error: say };
  const state: { log?: EmbeddedLog; isLeader: () => boolean } = { isLeader: () => false };
  const server = createServer(async (request, response) => {
    const answer = (status: number, body = '') => response.writeHead(status).end(body);
    if (request.url === '/alive') return answer(200);
    const ready = state.log?.readiness().ok === true && state.isLeader();
    if (request.url === '/ready') return answer(ready ? 200 : 503);
    const tbs = await bodyOf(request);
    // A request that comes while it is not ready is tried all the same: what must not happen is a wrong answer.
    if (state.log === undefined) return answer(503);
    try {
      const sct = await state.log.submit(submissionOf(tbs, settings), AbortSignal.timeout(5_000));
      return answer(200, JSON.stringify(toWire(sct)));
    } catch {
      return answer(503);
    }
  });
  server.listen(settings.port, '127.0.0.1');
  process.once('SIGTERM', async () => {
    server.close();
    server.closeAllConnections();
    await state.log?.close();
    process.exit(0);
  });
  const { s3, postgres, leaseMs } = settings;
  const storage = await openObjectStorage({ s3, postgres, clock: Date.now, logger, leaseMs, waitForLease: true });
  state.isLeader = () => storage.isLeader();
  state.log = await openEmbeddedLog({
    storage,
    indexDir: settings.indexDir,
    key: createPrivateKey(settings.key),
    origin: settings.origin,
    acceptedIssuers: () => [settings.chain.map(bytesOf)],
    clock: Date.now,
    logger,
    reopenDelayMs: 100,
    flushDelayMs: 200,
  });
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
