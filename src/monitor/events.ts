import { createHash } from 'node:crypto';
import type { SignedTreeHead } from '../ctlog/checkpoint.js';
import { eventId, type Finding } from './finding.js';
import type { Candidate, Matched } from './matcher.js';
import type { LogEntry } from './source.js';

/** Which log an event is about. */
export interface LogName {
  /** SHA-256 of the log's public key. */
  readonly id: Uint8Array;
  readonly url: string;
}

interface EventBase {
  /** The same whenever the same thing is told: who receives events drops what he has. */
  readonly id: string;
  /** When it was found, RFC 3339. */
  readonly time: string;
  readonly log: { readonly id: string; readonly url: string };
  /** It may have been delivered before: the monitor was stopped in the middle of delivering. */
  readonly repeated?: true;
}

/** A certificate that was looked for, and is in the log's tree. */
export interface MatchEvent extends EventBase {
  readonly type: 'match';
  readonly index: number;
  /** RFC 3339, of the log. */
  readonly logged: string;
  readonly entry: 'certificate' | 'precertificate';
  /** Hex. */
  readonly leafHash: string;
  readonly matched: readonly string[];
  /** Criteria that could not be decided, which counts as a match. */
  readonly undecided?: readonly string[];
  readonly certificate: {
    readonly serial: string;
    readonly notBefore: string;
    readonly notAfter: string;
    readonly issuer: string;
    readonly subject: string;
    readonly names: readonly { readonly kind: string; readonly value: string }[];
    readonly extensions: Readonly<Record<string, string>>;
    /** Hex, of the certificate's or precertificate's DER. */
    readonly sha256?: string;
    /** Base64 of the DER; left out when it is very long. */
    readonly der?: string;
  };
}

/** Something that is wrong with the log. */
export interface InconsistencyEvent extends EventBase {
  readonly type: 'inconsistency';
  readonly kind: Finding['kind'];
  readonly expected: string;
  readonly found: string;
  readonly index?: number;
  readonly evidence?: Readonly<Record<string, unknown>>;
}

export type MonitorEvent = MatchEvent | InconsistencyEvent;

/** Bytes of a certificate that an event carries whole. */
const maxDer = 64 * 1024;
/** A text, and how many, from a certificate in an event: what is longer is cut, in events only. */
const maxText = 4096;
const maxTexts = 256;

/** The event of a certificate that matched; `now` in milliseconds since the epoch. */
export function matchEvent(
  log: LogName,
  logged: LogEntry,
  { described }: Candidate,
  { matched, undecided }: Matched,
  now: number,
): MatchEvent {
  const { index, entry, leafHash, precertificate } = logged;
  const isPrecert = entry?.entry.type === 'precert';
  const der = entry?.entry.type === 'x509' ? entry.entry.certificate : precertificate;
  return {
    type: 'match',
    ...base(log, eventId(log.id, 'match', index), now),
    index,
    logged: iso(Number(entry?.timestamp ?? 0)),
    entry: isPrecert ? 'precertificate' : 'certificate',
    leafHash: Buffer.from(leafHash).toString('hex'),
    matched,
    ...(undecided.length === 0 ? {} : { undecided }),
    certificate: {
      serial: cut(described.serial),
      notBefore: iso(described.notBefore.getTime()),
      notAfter: iso(described.notAfter.getTime()),
      issuer: described.issuer,
      subject: described.subject,
      names: described.names.slice(0, maxTexts).map(({ kind, value }) => ({ kind, value: cut(value) })),
      extensions: Object.fromEntries(Object.entries(described.extensions).map(([name, value]) => [name, cut(value)])),
      ...(der === undefined ? {} : { sha256: createHash('sha256').update(der).digest('hex') }),
      ...(der === undefined || der.length > maxDer ? {} : { der: Buffer.from(der).toString('base64') }),
    },
  };
}

/** The event of a finding. */
export function inconsistencyEvent(log: LogName, finding: Finding, now: number): InconsistencyEvent {
  const { kind, key, expected, found, index, evidence } = finding;
  return {
    type: 'inconsistency',
    ...base(log, eventId(log.id, kind, key), now),
    kind,
    expected,
    found: cut(found),
    ...(index === undefined ? {} : { index }),
    ...(evidence === undefined ? {} : { evidence }),
  };
}

function base(log: LogName, id: string, now: number): EventBase {
  return { id, time: iso(now), log: { id: Buffer.from(log.id).toString('base64'), url: log.url } };
}

function cut(text: string): string {
  return text.length > maxText ? `${text.slice(0, maxText)}…` : text;
}

/** RFC 3339; a number that is no time is written as it is. */
export function iso(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms since 1970` : date.toISOString();
}

/** A head for a message. */
export function headText({ size, root, timestamp }: SignedTreeHead): string {
  return `${size} entries, root hash ${Buffer.from(root).toString('hex')}, of ${iso(timestamp)}`;
}
