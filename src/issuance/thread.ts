import type { KeyObject } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { createKeySigner } from '../ca/file-signer.js';
import { messageOf, toAppError } from '../errors.js';
import {
  type Job,
  type Outcome,
  packOutcomes,
  type ThreadCa,
  type ThrownError,
  type ToThread,
  unpackJobs,
} from './messages.js';
import { certify, complete, type IssuingKey, precertify } from './steps.js';

/** How long outcomes may wait for others to share a message with, in milliseconds. */
const gatherMs = 0.5;

/** A job with its keys, which the main thread may have taken back by the time it is done. */
interface Ready {
  readonly job: Job;
  readonly ca: IssuingKey | undefined;
  readonly logKey: KeyObject | undefined;
}

/**
 * The entry of a thread that proves keys and signs certificates. It holds no state but keys: every job says all that it
 * needs, so any thread can do any step of any request.
 */
function main(port: NonNullable<typeof parentPort>): void {
  const cas = new Map<number, IssuingKey>();
  const logKeys = new Map<number, KeyObject>();
  /** Second steps go first: they are nearer to their answer. */
  const last: Ready[] = [];
  const first: Ready[] = [];
  let outcomes: Outcome[] = [];
  let pending = 0;
  let lastSent = 0;
  let working = false;

  function send(): void {
    if (outcomes.length === 0) return;
    port.postMessage(packOutcomes(outcomes));
    outcomes = [];
    lastSent = performance.now();
  }

  function finished(outcome: Outcome): void {
    pending -= 1;
    outcomes.push(outcome);
    if (pending === 0 || performance.now() - lastSent > gatherMs) send();
  }

  function take({ cas: added, logKeys: addedLogKeys, forget, jobs }: ToThread): void {
    for (const ca of added) cas.set(ca.id, openCa(ca));
    for (const { id, privateKey } of addedLogKeys) logKeys.set(id, privateKey);
    for (const job of unpackJobs(jobs)) {
      const logKey = job.step === 'complete' ? logKeys.get(job.logKey) : undefined;
      (job.step === 'precertify' ? first : last).push({ job, ca: cas.get(job.ca), logKey });
      pending += 1;
    }
    for (const id of forget) {
      cas.delete(id);
      logKeys.delete(id);
    }
  }

  const next = (): Ready | undefined => last.shift() ?? first.shift();

  /** One job after the other, with a look at what has come meanwhile after each; libuv's pool may work on several at once. */
  async function work(): Promise<void> {
    working = true;
    for (let ready = next(); ready !== undefined; ready = next()) {
      const { id } = ready.job;
      const before = pending;
      run(ready).then(finished, (error: unknown) => finished({ id, error: thrown(error) }));
      for (let turns = 0; pending === before && turns < mostTurns; turns++) await undefined;
      // What has not ended by now is in work on libuv's pool (P-384 and the like), which answers by way of the event loop.
      if (pending > last.length + first.length) {
        send();
        await nextTurn();
      }
      for (let more = receiveMessageOnPort(port); more !== undefined; more = receiveMessageOnPort(port))
        take(more.message);
    }
    working = false;
  }

  port.on('message', (message: ToThread) => {
    take(message);
    if (working) return;
    lastSent = performance.now();
    void work();
  });
}

async function run({ job, ca, logKey }: Ready): Promise<Outcome> {
  const { id } = job;
  if (ca === undefined) throw new Error(`the thread does not know CA ${job.ca}`);
  if (job.step === 'precertify') return { id, precertified: await precertify(job.order, ca) };
  if (job.step === 'certify') return { id, certificate: await certify(job.order, ca) };
  if (logKey === undefined) throw new Error(`the thread does not know the log key ${job.logKey}`);
  return { id, completed: await complete(job.order, ca, logKey) };
}

/** More promises than a job has one after the other while it does not leave this thread. */
const mostTurns = 100;

function openCa({ privateKey, ...ca }: ThreadCa): IssuingKey {
  const { signatureAlgorithm, sign } = createKeySigner(privateKey);
  return { ...ca, signatureAlgorithm, sign };
}

function thrown(error: unknown): ThrownError {
  const { code, detail, retryAfterSeconds, rule, cause } = toAppError(error);
  return { code, detail, retryAfterSeconds, rule, cause: cause === undefined ? undefined : messageOf(cause) };
}

if (parentPort !== null) main(parentPort);
