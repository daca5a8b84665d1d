import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import type { After } from '../../src/ca/call-queue.js';
import type { RecoveryChange } from '../../src/ca/recovery.js';
import type { RemoteKey } from '../../src/ca/remote-key.js';
import type { RemoteSignerOptions } from '../../src/ca/remote-signer.js';

/** What the next calls do: a call takes the first entry, or works when there is none. */
export type Behaviour = () => Promise<Uint8Array>;

/** A key in memory behind the contract of remote ones; tests say how its calls go wrong. */
export interface FakeKey extends RemoteKey {
  privateKey: KeyObject;
  /** For calls of `sign`, in order. */
  readonly next: Behaviour[];
  /** For every call that `next` says nothing about. */
  always: Behaviour | undefined;
  publicKeyError: Error | undefined;
  readonly calls: { signed: number; running: number; mostRunning: number; aborted: number; closed: number };
}

export function fakeKey(privateKey = newKey('P-256')): FakeKey {
  const key: FakeKey = {
    describe: 'the fake key "ca"',
    privateKey,
    next: [],
    always: undefined,
    publicKeyError: undefined,
    calls: { signed: 0, running: 0, mostRunning: 0, aborted: 0, closed: 0 },
    publicKey: async () => {
      if (key.publicKeyError !== undefined) throw key.publicKeyError;
      return createPublicKey(key.privateKey);
    },
    async sign(data, algorithm, signal) {
      const { calls } = key;
      signal.addEventListener('abort', () => calls.aborted++);
      calls.running += 1;
      calls.mostRunning = Math.max(calls.mostRunning, calls.running);
      try {
        const behave = key.next.shift() ?? key.always;
        if (behave !== undefined) return await behave();
        await new Promise((resolve) => setImmediate(resolve));
        calls.signed += 1;
        return sign(algorithm.hash, data, key.privateKey);
      } finally {
        calls.running -= 1;
      }
    },
    close: async () => {
      key.calls.closed += 1;
    },
  };
  return key;
}

export function newKey(curve: 'P-256' | 'P-384' | 'P-521'): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: curve }).privateKey;
}

export const fails =
  (message: string): Behaviour =>
  () =>
    Promise.reject(new Error(message));
export const hangs: Behaviour = () => new Promise(() => undefined);
export const answers =
  (bytes: Uint8Array): Behaviour =>
  () =>
    Promise.resolve(bytes);

/** A clock that stands still until the test moves it, and everything that waits for it. */
export function manualTime() {
  let now = 0;
  let timers: { readonly at: number; readonly run: () => void }[] = [];
  const after: After = (ms, run) => {
    const timer = { at: now + ms, run };
    timers.push(timer);
    return () => {
      timers = timers.filter((other) => other !== timer);
    };
  };
  return {
    after,
    clock: () => now,
    pending: () => timers.map(({ at }) => at - now).sort((a, b) => a - b),
    async advance(ms: number): Promise<void> {
      now += ms;
      const due = timers.filter(({ at }) => at <= now);
      timers = timers.filter(({ at }) => at > now);
      for (const { run } of due) run();
      await settle();
    },
  };
}

/** Lets everything happen that needs no timer: signatures are verified on libuv's threads. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 1));
}

export function testOptions(change: Partial<RemoteSignerOptions> = {}) {
  const time = manualTime();
  const changes: RecoveryChange[] = [];
  const options: RemoteSignerOptions = {
    setting: '--test-key',
    clock: time.clock,
    random: () => 0,
    after: time.after,
    onChange: (news) => changes.push(news),
    timeoutMs: 5000,
    maxConcurrent: 4,
    maxWaiting: 8,
    ...change,
  };
  return { time, changes, options };
}
