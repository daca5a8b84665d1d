import type { Logger } from 'pino';
import type { Head } from './line.js';
import type { TrailOutput } from './output.js';
import type { AuditEvent, AuditRecord, OpenIntent } from './record.js';

export interface TrailLimits {
  /** Bytes and age from which on a new file is begun; Infinity for never. */
  readonly maxBytes: number;
  readonly maxAgeMs: number;
  /** A write that takes longer counts as failed until it ends. */
  readonly hangMs: number;
  /** Pause before a failed write is repeated. */
  readonly retryMs: number;
  /** Records that may wait; those beyond are counted, not written. */
  readonly maxWaiting: number;
}

/** What a file says of the one before it. */
export type Previous = NonNullable<AuditRecord['previous']>;

/** A line that was durable and is gone, or is another one now. */
export type Missing = NonNullable<AuditRecord['missing']>;

export interface TrailOptions {
  readonly output: TrailOutput;
  /** Of the chain that is to be continued. */
  readonly head: Head;
  /** Intents without an outcome, by serial number. */
  readonly open: ReadonlyMap<string, OpenIntent>;
  /** Members of the line that begins a file. */
  readonly opening: Pick<AuditRecord, 'trail' | 'instance' | 'version'>;
  /** The file before an output that is empty. */
  readonly previous?: Previous;
  /** What stands behind the last whole line of the output, which is then set aside as it is. */
  readonly torn?: Previous['torn'];
  /** The last line that an earlier server noted, if the chain that is to be continued ends before it. */
  readonly missing?: Missing;
  /** When the open file was begun, in milliseconds since the epoch. */
  readonly began: number;
  readonly onFailure: 'refuse' | 'warn';
  readonly limits: TrailLimits;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly logger: Pick<Logger, 'error' | 'warn'>;
  /** Told of each line that is durable, and of each batch how long it took. */
  readonly observe: (events: readonly AuditEvent[], seconds: number) => void;
}
