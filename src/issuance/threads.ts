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
  type ThrownError,
  type ToThread,
  unpackOutcomes,
} from './messages.js';
import type { CertificateOrder, Precertified, PrecertOrder } from './steps.js';
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

/** A thread is small: it makes certificates and nothing else. */
const resourceLimits = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 128 };

/** The thread of a built Mayfly. */
export const openBuiltThread: OpenThread = () =>
  new Worker(new URL('./thread.js', import.meta.url), { name: 'issuance', resourceLimits });

type Step =
  | { readonly step: 'precertify'; readonly order: PrecertOrder }
  | { readonly step: 'certify'; readonly order: CertificateOrder };

interface Waiting {
  readonly resolve: (value: Precertified | Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The work spread over `count` threads, each request's steps to whichever has least to do. A CA whose key is not in this
 * process (HSM, KMS) is served by the calling thread. A thread that ends is replaced, and what it had not answered is
 * done by the calling thread: the steps change nothing outside, so doing one again is safe.
 */
export function openThreadedWork(options: ThreadedWorkOptions): CertificateWork {
  const { isAlone = () => false } = options;
  const registry = createCaRegistry();
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

  async function run(work: Step, ca: CertificateAuthority): Promise<Precertified | Uint8Array | undefined> {
    const known = registry.of(ca);
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
const jobsAtOnce = 16;

/** One thread and what it was asked. */
interface Member {
  run(work: Step, ca: ThreadCa): Promise<Precertified | Uint8Array>;
  /** Jobs it has not answered. */
  busy(): number;
  ended(): boolean;
  close(): Promise<void>;
}

function openMember(worker: Worker, onEnd: (reason: string) => void): Member {
  const waiting = new Map<number, Waiting>();
  const knownCas = new Set<number>();
  let nextId = 0;
  let ended = false;
  let jobs: Job[] = [];
  let cas: ThreadCa[] = [];
  const flush = (): void => {
    if (jobs.length === 0) return;
    const message: ToThread = { cas, forget: forgotten(knownCas), jobs: packJobs(jobs) };
    jobs = [];
    cas = [];
    if (!ended) worker.postMessage(message);
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
      if (!knownCas.has(ca.id)) {
        knownCas.add(ca.id);
        cas.push(ca);
      }
      // After this turn of the event loop, so that requests which arrived together share a message; but when many did, the
      // thread begins with the first of them while this one still reads the rest.
      if (jobs.length === 0) setImmediate(flush);
      jobs.push({ ...work, id, ca: ca.id });
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

function settle({ resolve, reject }: Waiting, outcome: Outcome): void {
  if ('error' in outcome) reject(toError(outcome.error));
  else resolve('certificate' in outcome ? outcome.certificate : outcome.precertified);
}

function toError({ code, detail, retryAfterSeconds, rule, cause }: ThrownError): AppError {
  return new AppError(code, detail, {
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    ...(rule === undefined ? {} : { rule }),
    ...(cause === undefined ? {} : { cause: new Error(cause) }),
  });
}

/** CAs that a thread keeps; more than are ever in use at once, so that a key that was rotated away leaves memory. */
const maxKnownCas = 4;

function forgotten(known: Set<number>): number[] {
  const ids = [...known].slice(0, Math.max(0, known.size - maxKnownCas));
  for (const id of ids) known.delete(id);
  return ids;
}

/** Numbers for CAs, by their private key. */
function createCaRegistry() {
  const ids = new WeakMap<object, ThreadCa>();
  let nextId = 0;
  return {
    /** Undefined for a CA whose key is elsewhere. */
    of(ca: CertificateAuthority): ThreadCa | undefined {
      const { privateKey } = ca.signer;
      if (privateKey === undefined) return undefined;
      const known = ids.get(ca);
      if (known !== undefined) return known;
      const added = { id: nextId++, privateKey, issuerName: ca.subjectName, authorityKeyId: ca.subjectKeyId };
      ids.set(ca, added);
      return added;
    },
  };
}
