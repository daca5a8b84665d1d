import type { KeyObject } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { CertificateAuthority } from '../ca/authority.js';
import { AppError } from '../errors.js';
import {
  type FromThread,
  type Job,
  type Outcome,
  packJobs,
  type ThreadCa,
  type ThreadLogKey,
  type ThrownError,
  type ToThread,
  unpackOutcomes,
} from './messages.js';
import type { CertificateOrder, Completed, CompletionOrder, Precertified, PrecertOrder } from './steps.js';
import { type CertificateWork, localWork } from './work.js';

/** Starts one thread with the program of thread.ts. */
export type OpenThread = () => Worker;

export interface ThreadedWorkOptions {
  readonly count: number;
  readonly openThread: OpenThread;
  readonly logger: Pick<Logger, 'error' | 'warn'>;
  /** Whether the request at hand is the only one: then the way to a thread and back would be all that it gains. */
  readonly isAlone?: () => boolean;
  /** Told of each thread that ended and is replaced. */
  readonly onReplace?: () => void;
}

/** A thread is small: it makes certificates and nothing else. (Node's --max-semi-space-size, where given, takes the place of the first.) */
const resourceLimits = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 128 };

/** The thread of a built Mayfly. */
export const openBuiltThread: OpenThread = () =>
  new Worker(new URL('./thread.js', import.meta.url), { name: 'issuance', resourceLimits });

type Step =
  | { readonly step: 'precertify'; readonly order: PrecertOrder }
  | { readonly step: 'certify'; readonly order: CertificateOrder }
  | { readonly step: 'complete'; readonly order: CompletionOrder; readonly logKey: ThreadLogKey };

type Made = Precertified | Completed | Uint8Array;

interface Waiting {
  readonly resolve: (value: Made) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The work spread over `count` threads, each request's steps to whichever has least to do. A CA whose key is not in this
 * process (HSM, KMS) is served by the calling thread. A thread that ends is replaced, and what it had not answered is
 * done by the calling thread: the steps change nothing outside, so doing one again is safe.
 */
export function openThreadedWork(options: ThreadedWorkOptions): CertificateWork {
  const { isAlone = () => false } = options;
  const registry = createKeyRegistry();
  let closed = false;
  /** Whether this turn of the event loop has signed a certificate already. */
  let certifiedHere = false;
  const crew = Array.from({ length: options.count }, (_, place) => newMember(place));

  function newMember(place: number): Member {
    return openMember(options.openThread(), (reason) => {
      if (closed) return;
      options.logger.error({ reason }, 'a thread that makes certificates ended; another one takes its place');
      options.onReplace?.();
      // After a pause: a thread that cannot even start would otherwise be started without end.
      setTimeout(() => {
        if (!closed) crew[place] = newMember(place);
      }, restartMs).unref();
    });
  }

  async function run(work: Step, ca: CertificateAuthority): Promise<Made | undefined> {
    const known = registry.ca(ca);
    const member = leastBusy(crew);
    if (known === undefined || member === undefined) return undefined;
    try {
      return await member.run(work, known);
    } catch (error) {
      if (error === threadEnded) return undefined;
      throw error;
    }
  }

  return {
    async precertify(order, ca) {
      if (isAlone()) return localWork.precertify(order, ca);
      const value = await run({ step: 'precertify', order }, ca);
      return value === undefined ? localWork.precertify(order, ca) : (value as Precertified);
    },
    async certify(order, ca) {
      // A request that is alone has its signature sooner without the way to a thread and back; and a lone thread has enough to
      // do with proofs.
      if (options.count === 1 || !certifiedHere) {
        certifiedHere = true;
        setImmediate(() => {
          certifiedHere = false;
        });
        return localWork.certify(order, ca);
      }
      const value = await run({ step: 'certify', order }, ca);
      return value === undefined ? localWork.certify(order, ca) : (value as Uint8Array);
    },
    async complete(order, ca, logKey) {
      if (isAlone()) return localWork.complete(order, ca, logKey);
      const value = await run({ step: 'complete', order, logKey: registry.logKey(logKey) }, ca);
      return value === undefined ? localWork.complete(order, ca, logKey) : (value as Completed);
    },
    threads() {
      const alive = crew.filter((member) => !member.ended());
      const jobs = alive.map((member) => member.busy());
      const busy = jobs.filter((count) => count > 0).length;
      return { alive: alive.length, busy, jobs: jobs.reduce((sum, count) => sum + count, 0) };
    },
    async close() {
      closed = true;
      await Promise.all(crew.map((member) => member.close()));
    },
  };
}

const restartMs = 100;
const threadEnded = Symbol('the thread ended');

function leastBusy(crew: readonly Member[]): Member | undefined {
  let best: Member | undefined;
  for (const member of crew) {
    if (!member.ended() && (best === undefined || member.busy() < best.busy())) best = member;
  }
  return best;
}

/** Jobs that a message waits for at most: fewer wake a thread too often, more let it wait too long (docs/performance.md). */
const jobsAtOnce = 4;

/** One thread and what it was asked. */
interface Member {
  run(work: Step, ca: ThreadCa): Promise<Made>;
  /** Jobs it has not answered. */
  busy(): number;
  ended(): boolean;
  close(): Promise<void>;
}

function openMember(worker: Worker, onEnd: (reason: string) => void): Member {
  const waiting = new Map<number, Waiting>();
  const known = new Set<number>();
  let nextId = 0;
  let ended = false;
  let jobs: Job[] = [];
  let cas: ThreadCa[] = [];
  let logKeys: ThreadLogKey[] = [];
  const flush = (): void => {
    if (jobs.length === 0) return;
    const message: ToThread = { cas, logKeys, forget: forgotten(known), jobs: packJobs(jobs) };
    jobs = [];
    cas = [];
    logKeys = [];
    if (!ended) worker.postMessage(message);
  };
  const tell = <T extends { readonly id: number }>(key: T, told: T[]): void => {
    if (known.has(key.id)) return;
    known.add(key.id);
    told.push(key);
  };
  worker.on('message', (packed: FromThread) => {
    for (const outcome of unpackOutcomes(packed)) {
      const request = waiting.get(outcome.id);
      waiting.delete(outcome.id);
      if (request !== undefined) settle(request, outcome);
    }
  });
  const end = (reason: string): void => {
    if (ended) return;
    ended = true;
    for (const { reject } of waiting.values()) reject(threadEnded);
    waiting.clear();
    onEnd(reason);
  };
  worker.on('error', (error) => end(error instanceof Error ? error.message : String(error)));
  worker.on('messageerror', (error) => end(error.message));
  worker.on('exit', (code) => end(`exit code ${code}`));
  return {
    run(work, ca) {
      const id = nextId++;
      tell(ca, cas);
      if (work.step === 'complete') tell(work.logKey, logKeys);
      // After this turn of the event loop, so that requests which arrived together share a message; but when many did, the
      // thread begins with the first of them while this one still reads the rest.
      if (jobs.length === 0) setImmediate(flush);
      jobs.push(jobOf(work, id, ca.id));
      if (jobs.length >= jobsAtOnce) flush();
      return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
    },
    busy: () => waiting.size,
    ended: () => ended,
    async close() {
      await worker.terminate();
    },
  };
}

function jobOf(work: Step, id: number, ca: number): Job {
  const { step, order } = work;
  if (step === 'precertify') return { id, ca, step, order };
  if (step === 'certify') return { id, ca, step, order };
  return { id, ca, step, order, logKey: work.logKey.id };
}

function settle({ resolve, reject }: Waiting, outcome: Outcome): void {
  if ('precertified' in outcome) resolve(outcome.precertified);
  else if ('completed' in outcome) resolve(outcome.completed);
  else if ('certificate' in outcome) resolve(outcome.certificate);
  else reject(toError(outcome.error));
}

function toError({ code, detail, retryAfterSeconds, rule, cause }: ThrownError): AppError {
  return new AppError(code, detail, {
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    ...(rule === undefined ? {} : { rule }),
    ...(cause === undefined ? {} : { cause: new Error(cause) }),
  });
}

/** Keys that a thread keeps; more than are ever in use at once, so that one that was rotated away leaves memory. */
const maxKnown = 6;

function forgotten(known: Set<number>): number[] {
  if (known.size <= maxKnown) return [];
  const ids = [...known].slice(0, known.size - maxKnown);
  for (const id of ids) known.delete(id);
  return ids;
}

/** Numbers for CAs and log keys. */
function createKeyRegistry() {
  const cas = new WeakMap<CertificateAuthority, ThreadCa>();
  const logKeys = new WeakMap<KeyObject, ThreadLogKey>();
  let nextId = 0;
  return {
    /** Undefined for a CA whose key is elsewhere. */
    ca(ca: CertificateAuthority): ThreadCa | undefined {
      const { privateKey } = ca.signer;
      if (privateKey === undefined) return undefined;
      const known = cas.get(ca);
      if (known !== undefined) return known;
      const { subjectName: issuerName, subjectKeyId: authorityKeyId, issuerKeyHash } = ca;
      const added = { id: nextId++, privateKey, issuerName, authorityKeyId, issuerKeyHash };
      cas.set(ca, added);
      return added;
    },
    logKey(privateKey: KeyObject): ThreadLogKey {
      const known = logKeys.get(privateKey);
      if (known !== undefined) return known;
      const added = { id: nextId++, privateKey };
      logKeys.set(privateKey, added);
      return added;
    },
  };
}
