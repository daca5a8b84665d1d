import { setTimeout as sleep } from 'node:timers/promises';
import type { LogStorage } from '../../src/ctlog/storage.js';

/** Every operation of the contract but the end of it; an operation that is added and missing here is a type error. */
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
  'fetch',
] as const satisfies readonly (keyof LogStorage)[];

export type Operation = (typeof operations)[number];

type Forgotten = Exclude<keyof LogStorage, Operation | 'name' | 'shown' | 'close'>;
const noneForgotten: [Forgotten] extends [never] ? true : Forgotten = true;
void noneForgotten;

/** Those that write, and so can be torn. */
export const writes = [
  'replaceCheckpoint',
  'stage',
  'discardStages',
  'upload',
  'flush',
  'discardPartials',
  'publish',
] as const satisfies readonly Operation[];

/**
 * What becomes of one call: it fails, and did nothing, all of it or a part; it gives no answer for a while and then does
 * what it should; it gives no answer until the process is killed. After a `crash` or `killed` nothing works until the
 * storage is opened again.
 */
export const faultModes = [
  'fail',
  'persist',
  'torn',
  'hang',
  'hang, killed before',
  'hang, killed after',
  'crash before',
  'crash after',
] as const;

export type FaultMode = (typeof faultModes)[number];

export interface Fault {
  readonly operation: Operation;
  /** The first call is 1. */
  readonly call: number;
  readonly mode: FaultMode;
}

/** Does a part of a write, as far as this storage can. */
export type Tear = (operation: Operation, args: readonly unknown[]) => Promise<void>;

export interface FaultyStorage {
  readonly storage: LogStorage;
  /** Whether all the faults have happened. */
  readonly hit: () => boolean;
  /** Aborted while a call gives no answer; undefined when that is over. */
  readonly patience: () => AbortSignal | undefined;
  readonly calls: ReadonlyMap<Operation, number>;
}

const stallMs = 15;
const doesItFirst: readonly FaultMode[] = ['persist', 'crash after', 'hang, killed after'];

/** Of a list, the first half. */
const half = (all: unknown): unknown[] => {
  const items = [...(all as Iterable<unknown>)];
  return items.slice(0, Math.floor(items.length / 2));
};

/** What is torn of a write where the storage has nothing of its own to say. */
export function tearing(inner: LogStorage): Tear {
  return async (operation, [first, second]) => {
    if (operation === 'stage') {
      const bytes = second as Uint8Array;
      await inner.stage(String(first), bytes.subarray(0, bytes.length / 2));
    } else if (operation === 'flush') await inner.flush(half(first) as string[]);
    else if (operation === 'discardPartials') await inner.discardPartials(half(first) as string[]);
    else if (operation === 'discardStages') await inner.discardStages(half(first) as string[], second as boolean);
    // The others are atomic, and do nothing then.
  };
}

/** `inner` with faults in it. */
export function withFault(inner: LogStorage, faults: readonly Fault[], tear: Tear = tearing(inner)): FaultyStorage {
  const calls = new Map<Operation, number>();
  const hit = new Set<Fault>();
  let crashed = false;
  let stalling: AbortController | undefined = new AbortController();

  async function stall(): Promise<void> {
    setTimeout(() => stalling?.abort(), 3);
    await sleep(stallMs);
    stalling = undefined;
  }

  async function run(operation: Operation, args: readonly unknown[]): Promise<unknown> {
    if (crashed) throw new Error('the process has crashed');
    const call = () => Reflect.apply(inner[operation] as (...args: never) => unknown, inner, args);
    const number = (calls.get(operation) ?? 0) + 1;
    calls.set(operation, number);
    const fault = faults.find((one) => one.operation === operation && one.call === number);
    if (fault === undefined) return call();
    const { mode } = fault;
    hit.add(fault);
    if (doesItFirst.includes(mode)) await call();
    if (mode === 'torn') await tear(operation, args);
    if (mode.startsWith('hang')) await stall();
    if (mode === 'hang') return call();
    crashed = mode.startsWith('crash') || mode.includes('killed');
    throw new Error(`injected: ${operation} ${mode}`);
  }

  const faulty = Object.fromEntries(operations.map((name) => [name, (...args: unknown[]) => run(name, args)]));
  const storage = { name: `faulty ${inner.name}`, close: () => inner.close(), ...faulty } as unknown as LogStorage;
  return { storage, hit: () => hit.size === faults.length, patience: () => stalling?.signal, calls };
}
