import { constants } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import type { Logger } from 'pino';
import { Gauge } from 'prom-client';
import { messageOf } from '../errors.js';
import type { Metrics } from '../metrics.js';

/** The directories a server writes to, as they were when last looked at. */
export interface StorageWatch {
  /** Why what is to be written soon may not be; undefined while there is room. */
  trouble(): string | undefined;
  close(): void;
}

export interface StorageWatchDeps {
  readonly metrics: Pick<Metrics, 'registry'>;
  readonly logger: Pick<Logger, 'warn'>;
  /** Asks for the bytes that an unprivileged process may still write; throws for a directory that takes no writes. */
  readonly freeBytes?: (directory: string) => Promise<number>;
  readonly intervalMs?: number;
}

/** Some ten thousand certificates: time to notice. */
const leastBytes = 64 * 2 ** 20;
const lookEveryMs = 10_000;

/**
 * Looks every ten seconds, in the background, so that a file system that hangs holds up nobody who asks. Being short of
 * room stops nothing by itself: what cannot be written says so where it happens.
 */
export async function watchStorage(directories: readonly string[], deps: StorageWatchDeps): Promise<StorageWatch> {
  const { metrics, logger, freeBytes = freeBytesOf, intervalMs = lookEveryMs } = deps;
  const seen = new Map<string, number | string>();
  const lookAt = async (directory: string): Promise<void> => {
    const found = await freeBytes(directory).catch((error: unknown) => messageOf(error));
    const before = describe(directory, seen.get(directory));
    seen.set(directory, found);
    const now = describe(directory, found);
    if (now !== undefined && before === undefined) logger.warn(now);
  };
  const look = async (): Promise<void> => {
    await Promise.all(directories.map(lookAt));
  };
  await look();
  let looking = false;
  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    void look().finally(() => {
      looking = false;
    });
  }, intervalMs).unref();
  new Gauge({
    name: 'mayfly_storage_free_bytes',
    help: 'Bytes that can still be written to the file system of a directory',
    labelNames: ['directory'],
    registers: [metrics.registry],
    collect() {
      this.reset();
      for (const [directory, found] of seen) if (typeof found === 'number') this.set({ directory }, found);
    },
  });
  return {
    trouble: () => directories.map((directory) => describe(directory, seen.get(directory))).find(Boolean),
    close: () => clearInterval(timer),
  };
}

function describe(directory: string, found: number | string | undefined): string | undefined {
  if (typeof found === 'string') return `${directory} cannot be written to: ${found}`;
  if (found === undefined || found >= leastBytes) return undefined;
  return `${directory} has room for ${found} bytes only; expected ${leastBytes} or more`;
}

async function freeBytesOf(directory: string): Promise<number> {
  await access(directory, constants.W_OK);
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}
