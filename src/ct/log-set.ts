import type { Logger } from 'pino';
import { type Cancellation, signalOf } from '../cancellation.js';
import { AppError } from '../errors.js';
import { parseCertificate } from '../x509/certificate.js';
import type { CtLog, CtLogs, PrecertSubmission, Readiness, Sct } from './log.js';
import { covers, type TemporalInterval } from './temporal-interval.js';

export interface LogSetMember {
  readonly log: CtLog;
  /** Whether its SCT may be embedded; if not, it receives every precertificate and nobody waits for it. */
  readonly embed: boolean;
  /** Which certificates it is sent; without it, all. */
  readonly interval?: TemporalInterval;
}

export interface LogSetOptions {
  readonly members: readonly LogSetMember[];
  /** How many SCTs a certificate carries: N of the embedding members. */
  readonly required: number;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  /** Submissions that may be under way at a member that is not embedded; those beyond it do not reach it. */
  readonly maxUnawaited?: number;
  /** When a certificate issued now would end, in milliseconds since the epoch: which intervals count for readiness. */
  readonly notAfterOfNow?: () => number;
}

/** Logs that can be left without being closed. */
export interface LogSet extends CtLogs {
  /** Resolves when no submission that came through this set is under way. */
  drain(): Promise<void>;
}

const defaultMaxUnawaited = 1024;
/** Bounds the wait of `close` for a log that hangs. */
const unawaitedTimeoutMs = 30_000;
const defaultRetryAfterSeconds = 5;

/**
 * Several logs as one: each precertificate goes to all of them at once whose interval it falls into, the first N SCTs are
 * embedded in the order they came, and slower logs go on without being waited for. `submit` throws as soon as N can no
 * longer be had (what is still under way is then aborted): CT_LOG_UNAVAILABLE with the shortest of the logs' retry times,
 * or a lone log's own error. `close` waits for what is under way and closes the members.
 *
 * Throws AppError STARTUP when the embedding members are fewer than N, or two members are one log.
 */
export function openLogSet(options: LogSetOptions): LogSet {
  const { members, required, logger, maxUnawaited = defaultMaxUnawaited, notAfterOfNow = Date.now } = options;
  checkPolicy(members, required);
  const temporal = members.some(({ interval }) => interval !== undefined);
  const embedding = members.filter(({ embed }) => embed);
  const further = members
    .filter(({ embed }) => !embed)
    .map((member) => ({ ...member, send: forwarder(member.log, logger, maxUnawaited) }));

  const underWay = new Set<Promise<unknown>>();
  const track = <T>(work: Promise<T>): Promise<T> => {
    const settled: Promise<unknown> = work.catch(() => undefined).finally(() => underWay.delete(settled));
    underWay.add(settled);
    return work;
  };
  const drain = async (): Promise<void> => {
    await Promise.all(underWay);
  };
  return {
    name: embedding.map(({ log }) => log.name).join(', '),
    async submit(submission, signal, signSct) {
      const notAfter = temporal ? parseCertificate(submission.precertificate).notAfter.getTime() : 0;
      const fits = ({ interval }: LogSetMember): boolean => covers(interval, notAfter);
      for (const { send } of further.filter(fits)) track(send(submission));
      const asked = embedding.filter(fits).map(({ log }) => log);
      if (asked.length < required) throw noneFits(asked.length, embedding.length, required, notAfter);
      const [only] = asked;
      if (only !== undefined && asked.length === 1) {
        return track(only.submit(submission, signal, signSct)).then((sct) => [sct], rethrowKnown);
      }
      return fastest(asked, required, (log, limit) => track(log.submit(submission, limit)), signal);
    },
    readiness: () => readinessOf(embedding, required, notAfterOfNow()),
    drain,
    async close() {
      await drain();
      const closed = await Promise.allSettled(members.map(({ log }) => log.close()));
      const failure = closed.find((result) => result.status === 'rejected');
      if (failure !== undefined) throw failure.reason;
    },
  };
}

function noneFits(fitting: number, all: number, required: number, notAfter: number): AppError {
  const detail = `${fitting} of ${all} logs take certificates that end at ${new Date(notAfter).toISOString()}`;
  return new AppError('CT_LOG_UNAVAILABLE', `${detail}, and ${required} must`, { retryAfterSeconds: 60 });
}

function checkPolicy(members: readonly LogSetMember[], required: number): void {
  const names = new Map<string, string>();
  for (const { log } of members) {
    const id = Buffer.from(log.logId).toString('hex');
    const other = names.get(id);
    if (other !== undefined) {
      throw new AppError('STARTUP', `${other} and ${log.name} have one key, so they are one log: its SCT counts once`);
    }
    names.set(id, log.name);
  }
  const embedding = members.filter(({ embed }) => embed).length;
  if (required >= 1 && required <= embedding) return;
  const found = `${required} SCTs are required of ${embedding} logs whose SCTs may be embedded`;
  throw new AppError('STARTUP', `${found}; expected a number from 1 to ${embedding}`);
}

type Ask = (log: CtLog, limit: AbortSignal | undefined) => Promise<Sct>;

/** The first `required` SCTs; throws as soon as too many logs have failed. */
function fastest(
  logs: readonly CtLog[],
  required: number,
  ask: Ask,
  signal: Cancellation | undefined,
): Promise<readonly Sct[]> {
  const hopeless = new AbortController();
  const limit = signal === undefined ? hopeless.signal : AbortSignal.any([signalOf(signal), hopeless.signal]);
  return new Promise((resolve, reject) => {
    const scts: Sct[] = [];
    const failures: AppError[] = [];
    const had = (sct: Sct): void => {
      // What comes later must not change a list that is being embedded.
      if (scts.length === required) return;
      scts.push(sct);
      if (scts.length === required) resolve(scts);
    };
    const failed = (error: unknown): void => {
      failures.push(knownError(error));
      if (logs.length - failures.length !== required - 1) return;
      reject(tooFew(failures, logs.length, required));
      hopeless.abort();
    };
    for (const log of logs) ask(log, limit).then(had, failed);
  });
}

function rethrowKnown(error: unknown): never {
  throw knownError(error);
}

function knownError(error: unknown): AppError {
  return error instanceof AppError ? error : new AppError('CT_LOG_UNAVAILABLE', 'the log failed', { cause: error });
}

function tooFew(failures: readonly AppError[], asked: number, required: number): AppError {
  const reasons = failures.map(({ detail }) => detail).join('; ');
  const detail = `${failures.length} of ${asked} logs gave no SCT and ${required} must: ${reasons}`;
  const waits = failures.map(({ retryAfterSeconds }) => retryAfterSeconds ?? defaultRetryAfterSeconds);
  return new AppError('CT_LOG_UNAVAILABLE', detail, {
    cause: new AggregateError(failures),
    retryAfterSeconds: Math.min(...waits),
  });
}

/** Hands precertificates to a log whose SCT nobody waits for; says when it starts to miss some, and how many it missed. */
function forwarder(log: CtLog, logger: LogSetOptions['logger'], maxUnawaited: number) {
  let underWay = 0;
  let missed = 0;
  const miss = (why: string, cause?: unknown): void => {
    missed += 1;
    if (missed > 1) return;
    logger.warn({ log: log.name, err: cause }, `the log ${log.name}, not embedded, misses precertificates: ${why}`);
  };
  return async (submission: PrecertSubmission): Promise<void> => {
    if (underWay >= maxUnawaited) return miss(`${underWay} are under way already`);
    underWay += 1;
    try {
      await log.submit(submission, AbortSignal.timeout(unawaitedTimeoutMs));
      if (missed > 0) {
        logger.warn({ log: log.name, missed }, `the log ${log.name} takes precertificates again; it missed ${missed}`);
      }
      missed = 0;
    } catch (error) {
      const { detail, cause } = knownError(error);
      miss(detail, cause);
    } finally {
      underWay -= 1;
    }
  };
}

function readinessOf(members: readonly LogSetMember[], required: number, notAfter: number): Readiness {
  const troubles = members.flatMap(({ log, interval }) => {
    if (!covers(interval, notAfter)) {
      return [`${log.name}: it takes no certificate that ends at ${new Date(notAfter).toISOString()}`];
    }
    const readiness = log.readiness();
    return readiness.ok ? [] : [members.length === 1 ? readiness.reason : `${log.name}: ${readiness.reason}`];
  });
  const usable = members.length - troubles.length;
  if (usable >= required) return { ok: true };
  const [only = ''] = troubles;
  if (members.length === 1) return { ok: false, reason: only };
  return {
    ok: false,
    reason: `${usable} of ${members.length} logs can be used and ${required} must: ${troubles.join('; ')}`,
  };
}
