import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, messageOf } from '../errors.js';
import { encodeLine, type Head } from './line.js';
import type { TrailOutput } from './output.js';
import { type AuditEvent, type AuditRecord, follow, type OpenIntent } from './record.js';
import type { Missing, Previous, TrailOptions } from './trail-options.js';

interface Waiting {
  readonly record: AuditRecord;
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** Must be written, however late: it belongs to an intent that is. */
  readonly keep: boolean;
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

/** Lines that have their place in the chain, and are written until they are durable. */
interface Batch {
  readonly bytes: Uint8Array;
  readonly records: readonly Pick<Waiting, 'record' | 'resolve' | 'reject'>[];
  /** Set for a batch that begins a file: the name the file before it gets. */
  readonly archive?: string;
}

/** Lines that share one write and one fdatasync. */
const maxBatch = 1024;

/**
 * The one writer of an audit trail. Group commit: while one batch is being made durable the next one gathers. A batch that
 * could not be written is written again, the same bytes in the same place, until it can; meanwhile new records are refused,
 * or wait, as the operator chose, and a `gap` line counts those that are lost.
 */
export class Trail {
  readonly #options: TrailOptions;
  #head: Head;
  readonly #open: Map<string, OpenIntent>;
  #queue: Waiting[] = [];
  #batch: Batch | undefined;
  #running: Promise<void> | undefined;
  #trouble: { readonly reason: string; readonly since: number } | undefined;
  readonly #lost = new Map<AuditEvent, number>();
  #closing = false;
  /** Ends the pause before a write is repeated. */
  #wake: () => void = () => {};
  #newFile:
    | { readonly reason: 'start' | 'rotated'; readonly torn?: Previous['torn']; readonly missing?: Missing | undefined }
    | undefined;
  #began: number;
  /** Nothing but its first line is in the open file, so there is no reason for another. */
  #fresh = false;

  /** Begins with an `opened` line. */
  constructor(options: TrailOptions) {
    this.#options = options;
    this.#head = options.head;
    this.#open = new Map(options.open);
    this.#began = options.began;
    const { torn, missing, previous, output, opening } = options;
    if (torn === undefined) {
      const first = output.size > 0 ? {} : { ...(previous === undefined ? {} : { previous }), ...this.#carried() };
      const lost = missing === undefined ? {} : { missing };
      void this.append({ event: 'opened', ...opening, reason: 'start', ...first, ...lost }, true);
    } else {
      this.#newFile = { reason: 'start', torn, missing };
      this.#start();
    }
  }

  get head(): Head {
    return this.#head;
  }

  /** Why nothing can be recorded now; undefined while it can. */
  trouble(): string | undefined {
    return this.#trouble?.reason;
  }

  /** What a request is told that cannot be recorded; it counts as a failure. */
  refusal(): AppError {
    this.#lose({ event: 'failed' });
    return unavailable(this.#trouble?.reason ?? 'it is behind');
  }

  /** Intents that have a line, or are about to, and no outcome. */
  open(): readonly OpenIntent[] {
    return [...this.#open.values()];
  }

  isOpen(serial: string): boolean {
    return this.#open.has(serial);
  }

  /**
   * Resolves when the record's line is durable. Throws AppError AUDIT_UNAVAILABLE when that cannot be had, unless the
   * operator chose to go on without. With `keep` it never throws: the line is written when the output is back.
   */
  append(record: AuditRecord, keep = false): Promise<void> {
    const { onFailure, limits, clock } = this.#options;
    const refuse = onFailure === 'refuse' && !keep;
    if ((this.#trouble !== undefined && refuse) || this.#closing || this.#queue.length >= limits.maxWaiting) {
      this.#lose(record);
      return refuse ? Promise.reject(unavailable(this.#trouble?.reason ?? 'it is behind')) : Promise.resolve();
    }
    const written = new Promise<void>((resolve, reject) => {
      this.#queue.push({ record, time: clock(), keep, resolve, reject });
    });
    this.#start();
    if (this.#trouble === undefined) return written;
    written.catch(() => {});
    return Promise.resolve();
  }

  /** Begins a new file if the path leads to another one now, or if the open one is old enough. */
  look(): void {
    const { files } = this.#options.output;
    if (files === undefined || this.#closing) return;
    if (!this.#due() && !files.moved()) return;
    this.#newFile ??= { reason: 'rotated' };
    this.#start();
  }

  /** Takes nothing more, and resolves when what was taken is durable, or cannot be made so. */
  async close(): Promise<void> {
    if (!this.#closing && this.#trouble === undefined) await this.append({ event: 'stopped' }, true);
    this.#closing = true;
    this.#wake();
    // A write that hangs is not waited for.
    const patience = new AbortController();
    const waited = sleep(this.#options.limits.hangMs, undefined, { signal: patience.signal }).catch(() => {});
    await Promise.race([this.#running, waited]);
    patience.abort();
    if (this.#trouble === undefined) await this.#options.output.close();
    else this.#options.logger.error({ reason: this.#trouble.reason }, 'the audit trail ends without its last lines');
  }

  #start(): void {
    this.#running ??= new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => this.#run())
      .finally(() => {
        this.#running = undefined;
        if (this.#queue.length > 0 && !(this.#closing && this.#trouble !== undefined)) this.#start();
      });
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { output, opening } = this.#options;
    for (let batch = this.#next(); batch !== undefined; batch = this.#next()) {
      this.#batch = batch;
      if (await this.#commit(batch)) {
        output.note?.({ ...this.#head, trail: opening.trail ?? '' });
        this.#batch = undefined;
        this.#recovered();
        for (const { resolve } of batch.records) resolve();
      } else if (this.#closing) return;
      else await this.#pause();
    }
  }

  async #commit(batch: Batch): Promise<boolean> {
    const { output, limits, observe } = this.#options;
    const started = performance.now();
    const slow = `a write has not ended within ${limits.hangMs} ms`;
    const watchdog = setTimeout(() => this.#fail(batch, slow), limits.hangMs).unref();
    try {
      if (batch.archive === undefined) await output.append(batch.bytes);
      else await output.files?.next(batch.archive, batch.bytes);
    } catch (error) {
      this.#fail(batch, messageOf(error));
      return false;
    } finally {
      clearTimeout(watchdog);
    }
    const events = batch.records.map(({ record }) => record.event);
    observe(events, (performance.now() - started) / 1000);
    return true;
  }

  /** The batch that failed, or the first line of a new file, or what has gathered. */
  #next(): Batch | undefined {
    if (this.#batch !== undefined) return this.#batch;
    const { files } = this.#options.output;
    if (files !== undefined && (this.#newFile !== undefined || this.#due())) return this.#header(files);
    const taken = this.#queue.splice(0, maxBatch);
    if (taken.length === 0) return undefined;
    this.#fresh = false;
    return { bytes: this.#encode(taken), records: taken };
  }

  #due(): boolean {
    const { output, limits, clock } = this.#options;
    if (output.size === 0 || this.#fresh) return false;
    return output.size >= limits.maxBytes || clock() - this.#began >= limits.maxAgeMs;
  }

  #header(files: NonNullable<TrailOutput['files']>): Batch {
    const { clock, opening } = this.#options;
    const time = clock();
    const archive = files.archiveName(time, this.#head.seq);
    const { reason, torn, missing } = this.#newFile ?? { reason: 'rotated' };
    const previous = { ...(files.moved() ? {} : { file: archive }), ...(torn === undefined ? {} : { torn }) };
    const lost = missing === undefined ? {} : { missing };
    const record: AuditRecord = { event: 'opened', ...opening, reason, previous, ...this.#carried(), ...lost };
    this.#newFile = undefined;
    this.#began = time;
    this.#fresh = true;
    const line = { record, time, resolve: () => {}, reject: () => {} };
    return { bytes: this.#encode([line]), records: [line], archive };
  }

  /** A file names the intents it takes over, so that it alone says which have no outcome. */
  #carried(): Pick<AuditRecord, 'open'> {
    return this.#open.size === 0 ? {} : { open: [...this.#open.values()] };
  }

  #encode(records: readonly Pick<Waiting, 'record' | 'time'>[]): Uint8Array {
    let text = '';
    for (const { record, time } of records) {
      const line = encodeLine(this.#head, time, record);
      text += line.text;
      this.#head = line.head;
      follow(this.#open, record);
    }
    return Buffer.from(text);
  }

  /** Lets those go who wait: what is in a batch will be written all the same, what is not is forgotten unless it is to be kept. */
  #fail(batch: Batch, reason: string): void {
    const { logger, output, onFailure, clock } = this.#options;
    if (this.#trouble === undefined) {
      const effect = onFailure === 'refuse' ? 'nothing is issued' : 'certificates are issued without it';
      logger.error({ trail: output.name, reason }, `the audit trail cannot be written; until it can, ${effect}`);
    }
    this.#trouble = { reason, since: this.#trouble?.since ?? clock() };
    const error = unavailable(reason);
    if (onFailure === 'warn') {
      for (const waiting of [...batch.records, ...this.#queue]) waiting.resolve();
      return;
    }
    const forgotten = this.#queue.filter(({ keep }) => !keep);
    this.#queue = this.#queue.filter(({ keep }) => keep);
    for (const { record } of forgotten) this.#lose(record);
    for (const waiting of [...batch.records, ...forgotten]) waiting.reject(error);
    for (const { resolve } of this.#queue) resolve();
  }

  #recovered(): void {
    if (this.#trouble === undefined) return;
    const { logger, output, clock } = this.#options;
    const { reason, since } = this.#trouble;
    this.#trouble = undefined;
    const counts = [...this.#lost].map(([event, count]) => ({ event, count }));
    this.#lost.clear();
    const [from, to] = [iso(since), iso(clock())];
    logger.warn({ trail: output.name, from, to, lost: counts }, 'the audit trail is written again');
    const record: AuditRecord = { event: 'gap', from, to, reason: reason.slice(0, 200), counts };
    this.#queue.unshift({ record, time: clock(), keep: true, resolve: () => {}, reject: () => {} });
  }

  /** An intent or a certificate that is refused for it shows as the failure of its request. */
  #lose({ event }: AuditRecord): void {
    if (this.#options.onFailure === 'refuse' && (event === 'intent' || event === 'issued')) return;
    this.#lost.set(event, (this.#lost.get(event) ?? 0) + 1);
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#options.limits.retryMs).unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function unavailable(reason: string): AppError {
  const cause = new Error(`the audit trail cannot be written: ${reason}`);
  return new AppError('AUDIT_UNAVAILABLE', 'the audit trail cannot be written now', { cause, retryAfterSeconds: 5 });
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
