import { hash } from 'node:crypto';
import { decodeLeafIndex } from '../ct/leaf-index.js';
import type { Sct } from '../ct/log.js';
import { dedupeKey } from '../ctlog/candidate.js';
import { type ErrorCode, errorTable, toAppError } from '../errors.js';
import type { AuthenticatedRequest, Intent, Issued, RequestContext } from '../issue.js';
import type { AuditRecord, LoggedAt } from './record.js';
import type { RefusalBudget } from './refusals.js';
import type { Trail } from './trail.js';

/** One request on its way through the pipeline, as the trail is told of it. */
export interface Decision {
  /** Its token is good. */
  authenticated(request: AuthenticatedRequest): void;
  /** Resolves when the intent is durable; throws AppError AUDIT_UNAVAILABLE. */
  intend(intent: Intent): Promise<void>;
  /** Resolves when it is durable that the certificate is returned; throws AppError AUDIT_UNAVAILABLE. */
  issued(issued: Issued): Promise<void>;
  /** Resolves when the refusal is durable, counted or impossible to write; never throws. */
  refused(error: unknown): Promise<void>;
}

/** The decisions of a server without a trail. */
export const unrecorded: Decision = {
  authenticated: () => {},
  intend: () => Promise.resolve(),
  issued: () => Promise.resolve(),
  refused: () => Promise.resolve(),
};

export function recordedDecision(trail: Trail, budget: RefusalBudget, context: RequestContext): Decision {
  return new RecordedDecision(trail, budget, context);
}

class RecordedDecision implements Decision {
  readonly #trail: Trail;
  readonly #budget: RefusalBudget;
  /** What every line about the request says; grows as more is known. */
  #known: Omit<AuditRecord, 'event'>;
  #authenticated = false;
  #ended = false;

  constructor(trail: Trail, budget: RefusalBudget, { requestId, clientAddress }: RequestContext) {
    this.#trail = trail;
    this.#budget = budget;
    this.#known = { requestId, ...(clientAddress === undefined ? {} : { client: clientAddress }) };
  }

  authenticated({ principal }: AuthenticatedRequest): void {
    const { issuer, subject, san } = principal;
    const type = san.kind;
    this.#known = {
      ...this.#known,
      issuer: bounded(issuer),
      subject: bounded(subject),
      san: { type, value: bounded(san.value) },
    };
    this.#authenticated = true;
  }

  intend(intent: Intent): Promise<void> {
    const { rule, key, submission } = intent;
    this.#known = {
      ...this.#known,
      ...(rule === undefined ? {} : { rule: bounded(rule) }),
      key: { algorithm: key.algorithm, sha256: key.fingerprint },
      serial: serialText(intent.serial),
      precertificate: hash('sha256', submission.precertificate, 'hex'),
      entry: hex(dedupeKey({ type: 'precert', tbs: submission.tbs, issuerKeyHash: submission.issuerKeyHash })),
      issuerKey: hex(submission.issuerKeyHash),
    };
    return this.#trail.append({ event: 'intent', ...this.#known });
  }

  async issued({ certificate, scts }: Issued): Promise<void> {
    this.#ended = true;
    const logs = { logs: (scts ?? []).map(loggedAt) };
    try {
      const sha256 = hash('sha256', certificate, 'hex');
      await this.#trail.append({ event: 'issued', ...this.#known, certificate: sha256, ...logs });
    } catch (error) {
      const outcome = scts === undefined ? 'not-logged' : 'logged-not-returned';
      const { code } = toAppError(error);
      void this.#trail.append({ event: 'reconciled', ...this.#known, outcome, code, ...logs }, true);
      throw error;
    }
  }

  async refused(error: unknown): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const { code, rule } = toAppError(error);
    const event = isDenial(code) ? 'denied' : 'failed';
    const { serial } = this.#known;
    const intended = serial !== undefined && this.#trail.isOpen(serial);
    if (!intended && !this.#budget.take(this.#authenticated ? 'known' : 'unknown', event, code)) return;
    const decidedBy = rule === undefined ? {} : { rule: bounded(rule) };
    await this.#trail.append({ event, ...this.#known, ...decidedBy, code }, intended).catch(() => {});
  }
}

function isDenial(code: ErrorCode): boolean {
  return errorTable[code].grpc === 'PERMISSION_DENIED';
}

/** External logs need not say an index, and what they say instead has not been looked at. */
function loggedAt({ logId, extensions }: Sct): LoggedAt {
  const id = hex(logId);
  try {
    const index = decodeLeafIndex(extensions);
    return index === undefined ? { id } : { id, index };
  } catch {
    return { id };
  }
}

/** As openssl and browsers write it: without the octet that keeps the number positive. */
function serialText(serial: Uint8Array): string {
  return hex(serial[0] === 0 ? serial.subarray(1) : serial);
}

const maxChars = 1024;

/** A token may be 64 KiB long, and a line is not. */
function bounded(text: string): string {
  return text.length <= maxChars ? text : `${text.slice(0, maxChars).replace(/[\ud800-\udbff]$/, '')}…`;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
