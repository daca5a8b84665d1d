import type { KeyObject } from 'node:crypto';
import type { ErrorCode } from '../errors.js';
import type { CertificateOrder, Precertified, PrecertOrder } from './steps.js';

/** A CA whose private key is in memory, as a thread gets it once. */
export interface ThreadCa {
  readonly id: number;
  readonly privateKey: KeyObject;
  readonly issuerName: Uint8Array;
  readonly authorityKeyId: Uint8Array;
}

export type Job =
  | { readonly id: number; readonly ca: number; readonly step: 'precertify'; readonly order: PrecertOrder }
  | { readonly id: number; readonly ca: number; readonly step: 'certify'; readonly order: CertificateOrder };

/** To a thread: CAs it does not know yet, CAs that no job will name again, and the jobs of one turn of the event loop. */
export interface ToThread {
  readonly cas: readonly ThreadCa[];
  readonly forget: readonly number[];
  readonly jobs: readonly Job[];
}

/** An AppError without its cause, which may not be clonable. */
export interface ThrownError {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly retryAfterSeconds: number | undefined;
  readonly rule: string | undefined;
  /** What an unknown error said, for the log. */
  readonly cause: string | undefined;
}

export type Outcome =
  | { readonly id: number; readonly value: Precertified | Uint8Array }
  | { readonly id: number; readonly error: ThrownError };

/** From a thread: outcomes in the order in which they came. */
export type FromThread = readonly Outcome[];

/** Bytes alone in their buffer: a message carries a view's whole buffer along, and small Buffers share one of 8 KiB. */
export function alone(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}
