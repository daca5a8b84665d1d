/**
 * What the audit trail says. Each record becomes one line of JSON (see line.ts); docs/audit.md explains the fields.
 */
import { z } from 'zod';

/** What a line is about, with what its event means. */
export const auditEvents = {
  opened: 'a server begins to write, or goes on in a new file',
  intent: 'a precertificate is about to be shown to a log',
  issued: 'a certificate is about to be returned',
  denied: 'a policy said no',
  failed: 'a request got no certificate for another reason',
  reconciled: 'what became of an intent whose outcome could not be written in its time',
  refusals: 'denied and failed requests beyond those that got a line each',
  gap: 'the trail could not be written for a while',
  stopped: 'the server ended in order',
} as const;

export type AuditEvent = keyof typeof auditEvents;

/** What became of a precertificate whose request did not end in order. */
export type Reconciled = 'logged-not-returned' | 'not-logged' | 'unknown';

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const serial = z.string().regex(/^[0-9a-f]{2,40}$/);

/** An intent whose outcome has not been written. */
const openIntent = z.object({ requestId: z.string(), serial, entry: hash });
export type OpenIntent = Readonly<z.infer<typeof openIntent>>;

const where = z.object({ id: hash, index: z.int().nonnegative().optional() });
/** A log that has an entry: its log id, lower-case hex, and the leaf index, if it says one. */
export type LoggedAt = Readonly<z.infer<typeof where>>;

const fields = {
  requestId: z.string(),
  issuer: z.string(),
  subject: z.string(),
  san: z.object({ type: z.enum(['email', 'uri', 'username']), value: z.string() }),
  rule: z.string(),
  /** SHA-256 of the client's DER SubjectPublicKeyInfo. */
  key: z.object({ algorithm: z.string(), sha256: hash }),
  serial,
  /** SHA-256 of the DER. */
  precertificate: hash,
  certificate: hash,
  /** SHA-256 over entry type and signed_entry (RFC 6962 Section 3.2): what a log's entry and this line have in common. */
  entry: hash,
  /** issuer_key_hash of RFC 6962: which CA. */
  issuerKey: hash,
  logs: z.array(where),
  /** Reason of docs/errors.md. */
  code: z.string(),
  outcome: z.enum(['logged-not-returned', 'not-logged', 'unknown']),
  client: z.string(),
  trail: z.string(),
  instance: z.string(),
  version: z.string(),
  previous: z.object({
    /** Name of the file before this one, in the same directory; absent when another program named it. */
    file: z.string().optional(),
    /** What stands behind its last whole line, which is in no chain. */
    torn: z.object({ bytes: z.int().positive(), sha256: hash }).optional(),
  }),
  /** What the server before this one wrote last, if the trail that this one found does not have it. */
  missing: z.object({ seq: z.int().positive(), sha256: hash }),
  open: z.array(openIntent),
  from: z.iso.datetime(),
  to: z.iso.datetime(),
  counts: z.array(z.object({ event: z.string(), code: z.string().optional(), count: z.int().positive() })),
  reason: z.string(),
};

const record = z.object(fields).partial();

/** A record without its place in the chain. */
export type AuditRecord = { readonly event: AuditEvent } & Readonly<z.infer<typeof record>>;

/** A whole line; events and fields of later versions are let be. */
export const auditLine = z.looseObject({
  prev: hash,
  seq: z.int().positive(),
  time: z.iso.datetime(),
  event: z.string(),
  ...record.shape,
});

export type AuditLine = Readonly<z.infer<typeof auditLine>>;

const withOutcome: ReadonlySet<string> = new Set<AuditEvent>(['issued', 'denied', 'failed', 'reconciled']);

/** Keeps the intents that have no outcome yet, by serial number, as lines follow each other. */
export function follow(open: Map<string, OpenIntent>, line: Partial<AuditLine>): void {
  if (line.event === 'opened' && line.open !== undefined) {
    for (const intent of line.open) open.set(intent.serial, intent);
  }
  const { requestId, serial: number, entry } = line;
  if (number === undefined) return;
  if (line.event === 'intent' && requestId !== undefined && entry !== undefined) {
    open.set(number, { requestId, serial: number, entry });
  } else if (line.event !== undefined && withOutcome.has(line.event)) open.delete(number);
}
