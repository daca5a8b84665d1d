import type { Logger } from 'pino';
import { coverageEnd } from '../ct/temporal-interval.js';
import type { Member } from './log-members.js';

const dayMs = 24 * 3_600_000;
/** How long before the last interval ends the operator is told, each day. */
const noticeMs = 30 * dayMs;

/**
 * Tells the operator how long the logs' intervals cover the certificates issued here: at once if they do not, and from 30
 * days before they cease to. `notAfter` is that of a certificate issued now, in milliseconds since the epoch.
 */
export function tellCoverage(
  members: readonly Member[],
  required: number,
  notAfter: number,
  logger: Pick<Logger, 'warn' | 'error'>,
): void {
  const embedding = members.filter(({ embed }) => embed);
  const end = coverageEnd(
    embedding.map(({ interval }) => interval),
    required,
    notAfter,
  );
  if (end === undefined || end - notAfter > noticeMs) return;
  const until = new Date(end).toISOString();
  if (end === notAfter) {
    const found = `fewer than ${required} of the ${embedding.length} logs take certificates that end at ${until}`;
    logger.error(`${found}, so none can be issued: add a log with a fitting temporal-interval to --ct-logs-config`);
    return;
  }
  const days = Math.floor((end - notAfter) / dayMs);
  const soon = `in ${days} days no certificate can be issued any more: fewer than ${required} of the logs take one that`;
  logger.warn({ until }, `${soon} ends at ${until} or later; add the log that follows to --ct-logs-config`);
}

/** Calls `tell` every day until it is stopped. */
export function daily(tell: () => void): () => void {
  const timer = setInterval(tell, dayMs).unref();
  return () => clearInterval(timer);
}
