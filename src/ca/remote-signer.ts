import { hash, type KeyObject, verify } from 'node:crypto';
import { AppError, messageOf } from '../errors.js';
import { type After, type CallQueue, createCallQueue, QueueError } from './call-queue.js';
import { createRecovery, type Recovery, type RecoveryChange } from './recovery.js';
import type { RemoteKey } from './remote-key.js';
import { isSameKey } from './same-key.js';
import { keyKinds, kindOf, type SignatureAlgorithm, signatureAlgorithmOf } from './signature-algorithm.js';
import type { Signer } from './signer.js';

export interface RemoteSignerOptions {
  /** Where the operator named the key, for start-up errors: `--kms-resource`. */
  readonly setting: string;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** From 0 to 1: the jitter of the pauses between probes. */
  readonly random: () => number;
  readonly after: After;
  /** Called when a call failed, when the key counts as out of reach, and when it signs again. */
  readonly onChange: (change: RecoveryChange) => void;
  /** Longest time of one call to the backend. */
  readonly timeoutMs: number;
  /** Calls to the backend at the same time. */
  readonly maxConcurrent: number;
  /** Signatures that may wait for their turn. */
  readonly maxWaiting: number;
  /** How long they may wait; `timeoutMs` when not given. */
  readonly maxWaitMs?: number | undefined;
}

/** Limits that suit a network call of a few milliseconds to a few hundred. */
export const remoteSignerDefaults = { timeoutMs: 5000, maxConcurrent: 32, maxWaiting: 512 } as const;

/**
 * Makes a Signer of a key that lives elsewhere. Before it resolves the key has signed once and the signature has been
 * verified; otherwise it throws AppError STARTUP naming the setting and the key, and the key is closed.
 *
 * Every signature is verified with the public key of the start before it is returned (84 µs for P-256, 614 µs for P-384,
 * 26 µs for RSA-2048, on libuv's threads): what the backend mixes up, damages or signs with another key never gets into
 * a certificate. When a call fails, no further one is made until a probe (public key compared, one signature verified)
 * has passed; probes go on with growing pauses by themselves, so recovery needs neither a request nor a restart.
 *
 * `sign` throws AppError SIGNER_UNAVAILABLE with retryAfterSeconds, and at once while the key is known to be out of
 * reach; `trouble` says so to the readiness check.
 */
export async function openRemoteSigner(key: RemoteKey, options: RemoteSignerOptions): Promise<Signer> {
  try {
    return await open(key, options);
  } catch (cause) {
    await key.close().catch(() => undefined);
    const why = cause instanceof AppError ? cause.detail : messageOf(cause);
    throw new AppError('STARTUP', `${options.setting}: ${key.describe}: ${why}`, { cause });
  }
}

async function open(key: RemoteKey, options: RemoteSignerOptions): Promise<Signer> {
  const limited = timeLimit(options);
  const publicKey = await limited((signal) => key.publicKey(signal));
  const algorithm = signatureAlgorithmOf(publicKey);
  if (algorithm === undefined) {
    throw new AppError('STARTUP', `is of the kind ${kindOf(publicKey)}; expected ${keyKinds.join(', ')}`);
  }
  const checked = { publicKey, algorithm };
  const signChecked = (data: Uint8Array) => limited((signal) => signAndVerify(key, data, checked, signal));
  await signChecked(probeText);

  const queue = createCallQueue({
    ...options,
    maxRunning: options.maxConcurrent,
    maxWaitMs: options.maxWaitMs ?? options.timeoutMs,
  });
  const recovery = createRecovery({
    ...options,
    async probe() {
      await limited(async (signal) => expectSameKey(await key.publicKey(signal), publicKey));
      await signChecked(probeText);
    },
    onChecking: () => queue.pause(),
    onDown: (reason) => {
      queue.refuse(new QueueError(reason));
      queue.resume();
    },
    onUp: () => queue.resume(),
  });
  return {
    publicKey,
    signatureAlgorithm: algorithm.identifier,
    sign: (data) => signQueued(() => signChecked(data), queue, recovery),
    trouble: () => recovery.trouble(),
    async close() {
      recovery.close();
      queue.refuse(new QueueError('the signer is closed'));
      await key.close();
    },
  };
}

/** No certificate can begin like this: a signature over it is of no use to anybody. */
const probeText = Buffer.from('mayfly asks whether this key can sign');

/** One signature in its turn, and once more when the first failed for a reason that a probe found gone. */
async function signQueued(call: () => Promise<Uint8Array>, queue: CallQueue, recovery: Recovery): Promise<Uint8Array> {
  for (let mayRepeat = true; ; mayRepeat = false) {
    if (recovery.trouble() !== undefined) throw unavailable(recovery);
    try {
      return await queue.run(call);
    } catch (error) {
      if (error instanceof QueueError) throw unavailable(recovery, error);
      recovery.failed(messageOf(error));
      // A client that has waited for one time limit is not made to wait for a second one.
      if (!mayRepeat || error instanceof TimeLimitError) throw unavailable(recovery, error);
    }
  }
}

function unavailable(recovery: Recovery, cause?: unknown): AppError {
  return new AppError('SIGNER_UNAVAILABLE', 'the key of the certificate authority cannot sign now', {
    cause: cause ?? recovery.trouble(),
    retryAfterSeconds: Math.max(1, Math.ceil(recovery.nextProbeMs() / 1000)),
  });
}

interface Checked {
  readonly publicKey: KeyObject;
  readonly algorithm: SignatureAlgorithm;
}

async function signAndVerify(
  key: RemoteKey,
  data: Uint8Array,
  { publicKey, algorithm }: Checked,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const signature = await key.sign(data, algorithm, signal);
  if (await verifies(algorithm.hash, data, publicKey, signature)) return signature;
  throw new Error('returned a signature that does not verify with its public key');
}

function verifies(hashName: string | null, data: Uint8Array, key: KeyObject, signature: Uint8Array): Promise<boolean> {
  return new Promise((resolve, reject) => {
    verify(hashName, data, key, signature, (error, good) => (error === null ? resolve(good) : reject(error)));
  });
}

function expectSameKey(found: KeyObject, expected: KeyObject): void {
  if (isSameKey(found, expected)) return;
  throw new Error(`holds another key now: SHA-256 ${fingerprint(found)}; expected ${fingerprint(expected)}`);
}

function fingerprint(key: KeyObject): string {
  return hash('sha256', key.export({ type: 'spki', format: 'der' }));
}

class TimeLimitError extends Error {
  override readonly name = 'TimeLimitError';
}

type Limited = <T>(call: (signal: AbortSignal) => Promise<T>) => Promise<T>;

/** Gives each call so much time; one that takes longer is aborted, and what it answers later is dropped. */
function timeLimit({ timeoutMs, after }: RemoteSignerOptions): Limited {
  return (call) =>
    new Promise((resolve, reject) => {
      const controller = new AbortController();
      const stop = after(timeoutMs, () => {
        const error = new TimeLimitError(`did not answer within ${timeoutMs} ms`);
        reject(error);
        controller.abort(error);
      });
      Promise.resolve()
        .then(() => call(controller.signal))
        .then(resolve, reject)
        .finally(stop);
    });
}
