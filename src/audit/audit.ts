import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { promisify } from 'node:util';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { AuditSettings } from '../config/audit.js';
import type { RequestContext } from '../issue.js';
import { type Decision, recordedDecision, unrecorded } from './decision.js';
import { type Disk, disk as realDisk } from './disk.js';
import { noHead } from './line.js';
import { createAuditMetrics } from './metrics.js';
import { type OpenedFile, openTrailFile } from './open-file.js';
import type { LoggedAt, Reconciled } from './record.js';
import { RefusalBudget } from './refusals.js';
import { StandardOutput } from './standard-output.js';
import { Trail } from './trail.js';
import type { TrailLimits } from './trail-options.js';

/** The audit trail as the server uses it. */
export interface Audit {
  /** Throws AppError AUDIT_UNAVAILABLE when nothing may be issued because nothing can be recorded. */
  begin(context: RequestContext): Decision;
  /** Why nothing is issued now; undefined while it is. */
  trouble(): string | undefined;
  /** Whether there is a trail at all. */
  readonly kept: boolean;
  /** Begins a new file where the old one was renamed: logrotate sends SIGHUP. */
  reopen(): void;
  close(): Promise<void>;
}

/** What became of an entry, by its `entry` in the trail. */
export type FindEntry = (entry: Uint8Array) => { readonly outcome: Reconciled; readonly logs?: readonly LoggedAt[] };

export interface AuditDeps {
  /** How the lines name this instance: its public URL. */
  readonly instance: string;
  readonly version: string;
  readonly findEntry: FindEntry;
  readonly registry: Registry;
  readonly logger: Logger;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly disk?: Disk;
  readonly limits?: Partial<TrailLimits>;
}

export const noAudit: Audit = {
  begin: () => unrecorded,
  trouble: () => undefined,
  kept: false,
  reopen: () => {},
  close: () => Promise.resolve(),
};

const defaults = { hangMs: 5000, retryMs: 1000, maxWaiting: 10_000 };
const lookMs = 5000;
const minuteMs = 60_000;

/**
 * Opens the trail that the settings name, continues its chain and writes what became of the intents that have no outcome.
 * A disk that takes nothing now is no reason not to start: the trail is in trouble until it does. Throws AppError STARTUP
 * for a file that cannot be opened, is no audit trail or is being written by another process.
 */
export async function openAudit(settings: AuditSettings, deps: AuditDeps): Promise<Audit> {
  const { clock, logger, instance, version, registry } = deps;
  const opened =
    settings.path === '-' ? toStandardOutput(clock) : await openTrailFile(settings.path, deps.disk ?? realDisk, clock);
  const { trailId = randomBytes(16).toString('hex'), lock, tellings, ...found } = opened;
  for (const telling of tellings) logger.warn({ trail: settings.path }, telling);
  const { maxBytes, maxAgeMs, onFailure, maxRefusals } = settings;
  const metrics = createAuditMetrics(registry, () => trail.trouble());
  const trail = new Trail({
    ...found,
    opening: { trail: trailId, instance, version },
    onFailure,
    limits: { ...defaults, maxBytes, maxAgeMs, ...deps.limits },
    clock,
    logger,
    observe: metrics.observe,
  });
  await reconcile(trail, deps);
  const budget = new RefusalBudget(maxRefusals, clock);
  const turn = (): void => {
    const summary = budget.turn();
    if (summary !== undefined) void trail.append(summary, true);
  };
  const timers = [setInterval(turn, minuteMs), setInterval(() => trail.look(), lookMs)].map((timer) => timer.unref());
  const trouble = (): string | undefined => (onFailure === 'refuse' ? trail.trouble() : undefined);
  return {
    kept: true,
    trouble,
    begin(context) {
      if (trouble() !== undefined) throw trail.refusal();
      return recordedDecision(trail, budget, context);
    },
    reopen: () => trail.look(),
    async close() {
      for (const timer of timers) clearInterval(timer);
      turn();
      await trail.close();
      lock?.release();
    },
  };
}

function toStandardOutput(clock: () => number): OpenedFile {
  const write = promisify(fs.write);
  const output = new StandardOutput(async (bytes) => (await write(1, bytes)).bytesWritten);
  return { output, head: noHead, open: new Map(), began: clock(), tellings: [] };
}

/** Resolves when the outcomes are durable, or wait for the disk. */
async function reconcile(trail: Trail, { findEntry, logger }: AuditDeps): Promise<void> {
  await Promise.all(
    trail.open().map(async ({ requestId, serial, entry }) => {
      const { outcome, logs } = findEntry(Buffer.from(entry, 'hex'));
      logger.warn({ requestId, serial, outcome }, 'a request that had no outcome in the audit trail has one now');
      const where = logs === undefined ? {} : { logs: [...logs] };
      await trail.append({ event: 'reconciled', requestId, serial, entry, outcome, ...where }, true);
    }),
  );
}
