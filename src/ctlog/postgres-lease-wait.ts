import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../errors.js';
import type { LeaseHolder, PostgresLease } from './postgres-lease.js';
import { PostgresError } from './postgres-session.js';

export interface LeaseWait {
  /** Wait for the lease, or else refuse. */
  readonly waitForLease: boolean;
  /** Pause between two attempts. */
  readonly pollMs: number;
  /** Called once, when there is something to wait for. */
  readonly onWait: (holder: LeaseHolder) => void;
  /** Called when an attempt failed that is going to be repeated. */
  readonly onError: (error: PostgresError) => void;
  /** Ends the wait. */
  readonly signal?: AbortSignal;
}

/**
 * Resolves when the lease is this process's. Throws AppError STARTUP when it is another's and not to be waited for,
 * SHUTTING_DOWN when `signal` ended the wait. A standby that waits outlives an outage of the database.
 */
export async function acquireLease(lease: PostgresLease, wait: LeaseWait): Promise<void> {
  for (let waiting = false; ; ) {
    const found = await lease.acquire().catch((error: unknown) => {
      if (!waiting || !(error instanceof PostgresError)) throw error;
      wait.onError(error);
      return undefined;
    });
    if (found === 'acquired') return;
    if (found !== undefined && !wait.waitForLease) throw inUse(lease, found);
    if (found !== undefined && !waiting) wait.onWait(found);
    waiting = true;
    await sleep(wait.pollMs, undefined, wait.signal === undefined ? {} : { signal: wait.signal }).catch(() => {});
    if (wait.signal?.aborted === true) throw new AppError('SHUTTING_DOWN', 'it was waiting for the lease of the log');
  }
}

function inUse(lease: PostgresLease, { holder, expiresInMs }: LeaseHolder): AppError {
  const who = holder === '' ? 'another process' : holder;
  return new AppError(
    'STARTUP',
    `the log is in use by ${who}, whose lease at ${lease.name} lasts ${Math.ceil(expiresInMs / 1000)} s more, ` +
      'and a log has one writer: stop the other one, or start this one as its standby, which waits for the lease',
  );
}
