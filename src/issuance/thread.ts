import { parentPort } from 'node:worker_threads';
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
import { certify, type IssuingKey, precertify } from './steps.js';

/** How long outcomes may wait for others to share a message with, in milliseconds. */
const gatherMs = 0.5;

/**
 * The entry of a thread that proves keys and signs certificates. It holds no state but the CAs' keys: every job says all
 * that it needs, so any thread can do any step of any request.
 */
function main(port: NonNullable<typeof parentPort>): void {
  const cas = new Map<number, IssuingKey>();
  let outcomes: Outcome[] = [];
  let lastSent = 0;
  const send = (): void => {
    if (outcomes.length === 0) return;
    port.postMessage(packOutcomes(outcomes));
    outcomes = [];
    lastSent = performance.now();
  };
  let pending = 0;
  const finished = (outcome: Outcome): void => {
    pending -= 1;
    outcomes.push(outcome);
    if (pending === 0 || performance.now() - lastSent > gatherMs) send();
  };
  port.on('message', ({ cas: added, forget, jobs: packed }: ToThread) => {
    const jobs = unpackJobs(packed);
    for (const ca of added) cas.set(ca.id, openCa(ca));
    for (const id of forget) cas.delete(id);
    pending += jobs.length;
    lastSent = performance.now();
    // The second steps first: they are nearer to their answer.
    for (const job of jobs.sort(nearerFirst)) {
      run(job, cas).then(finished, (error: unknown) => finished({ id: job.id, error: thrown(error) }));
    }
  });
}

const nearerFirst = (a: Job, b: Job): number => Number(a.step === 'precertify') - Number(b.step === 'precertify');

async function run(job: Job, cas: ReadonlyMap<number, IssuingKey>): Promise<Outcome> {
  const { id } = job;
  const ca = cas.get(job.ca);
  if (ca === undefined) throw new Error(`the thread does not know CA ${job.ca}`);
  if (job.step === 'certify') return { id, certificate: await certify(job.order, ca) };
  return { id, precertified: await precertify(job.order, ca) };
}

function openCa({ privateKey, issuerName, authorityKeyId }: ThreadCa): IssuingKey {
  const signer = createKeySigner(privateKey);
  return { signatureAlgorithm: signer.signatureAlgorithm, issuerName, authorityKeyId, sign: signer.sign };
}

function thrown(error: unknown): ThrownError {
  const { code, detail, retryAfterSeconds, rule, cause } = toAppError(error);
  return { code, detail, retryAfterSeconds, rule, cause: cause === undefined ? undefined : messageOf(cause) };
}

if (parentPort !== null) main(parentPort);
