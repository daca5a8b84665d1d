import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * For every LMDB environment. Where lmdb gathers the writes of a turn of the event loop by itself, it leaves a promise to nobody
 * that rejects when a commit fails, and on a full disk that would end the process.
 */
export const lmdbOptions = { eventTurnBatching: false } as const;

/**
 * Resolves as `write` does, when LMDB has committed it; throws what the commit failed for. The error that lmdb rejects with only
 * points to that one, in a promise that nobody else handles.
 */
export async function committed<T>(write: Promise<T>): Promise<T> {
  try {
    return await write;
  } catch (error) {
    await Promise.race([causeOf(error), nextTurn()]);
    throw error;
  }
}

function causeOf(error: unknown): unknown {
  return error instanceof Error && 'commitError' in error ? error.commitError : undefined;
}
