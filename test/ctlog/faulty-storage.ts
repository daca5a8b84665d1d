import type { LogStorage } from '../../src/ctlog/storage.js';
import type { MemoryStorage } from './memory-storage.js';

export const operations = [
  'loadCheckpoint',
  'replaceCheckpoint',
  'stage',
  'listStages',
  'fetchStage',
  'discardStages',
  'upload',
  'flush',
  'discardPartials',
  'publish',
] as const satisfies readonly (keyof LogStorage)[];

export type Operation = (typeof operations)[number];

/** `fail` and `persist` hit one call; after a `crash` nothing works until the storage is opened again. */
export type FaultMode = 'fail' | 'persist' | 'torn' | 'crash before' | 'crash after';

export interface Fault {
  readonly operation: Operation;
  /** The first call is 1. */
  readonly call: number;
  readonly mode: FaultMode;
}

export interface FaultyStorage {
  readonly storage: LogStorage;
  /** Whether all the faults have happened. */
  readonly hit: () => boolean;
}

/** `inner` with faults in it. */
export function withFault(inner: MemoryStorage, faults: readonly Fault[]): FaultyStorage {
  const calls = new Map<Operation, number>();
  const hit = new Set<Fault>();
  let crashed = false;

  async function run(operation: Operation, args: readonly unknown[]): Promise<unknown> {
    if (crashed) throw new Error('the process has crashed');
    const call = () => Reflect.apply(inner[operation] as (...args: never) => unknown, inner, args);
    const number = (calls.get(operation) ?? 0) + 1;
    calls.set(operation, number);
    const fault = faults.find((one) => one.operation === operation && one.call === number);
    if (fault === undefined) return call();
    hit.add(fault);
    crashed = fault.mode.startsWith('crash');
    if (fault.mode === 'persist' || fault.mode === 'crash after') await call();
    if (fault.mode === 'torn') inner.tornStage(...(args as [string, Uint8Array]));
    throw new Error(`injected: ${operation} ${fault.mode}`);
  }

  const faulty = Object.fromEntries(operations.map((name) => [name, (...args: unknown[]) => run(name, args)]));
  const storage = {
    name: 'faulty memory',
    fetch: (path: string) => inner.fetch(path),
    close: () => inner.close(),
    ...faulty,
  } as unknown as LogStorage;
  return { storage, hit: () => hit.size === faults.length };
}
