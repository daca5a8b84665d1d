import { existsSync } from 'node:fs';
import type { Router } from 'express';
import type { Logger } from 'pino';
import { Gauge } from 'prom-client';
import { messageOf } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { differences } from '../trust/tuf-ceremony.js';
import { type TufRole, tufRoles } from '../trust/tuf-keys.js';
import { canPublish, publishTuf } from '../trust/tuf-publish.js';
import { isTufRepository, readTufRepository, type TufRepository } from '../trust/tuf-repository.js';
import { tufRoutes } from '../trust/tuf-routes.js';
import { readTufTargets } from '../trust/tuf-targets.js';

/** The TUF repository of an instance, served and kept fresh. */
export interface ServedTuf {
  readonly routes: Router;
  /** Publishes what is due and compares the signed targets with the trust files; never throws. */
  look(): Promise<void>;
  close(): Promise<void>;
}

export interface TufOptions {
  readonly dir: string;
  readonly keysDir: string;
  readonly offlineDir: string;
  /** The trust files as they are now. */
  readonly trustDir: string;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'registry'>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

const lookEveryMs = 10 * 60 * 1000;
const dayMs = 24 * 60 * 60 * 1000;
/** A ceremony wants to be planned: from here on the operator is told every day. */
const warnBeforeMs = 60 * dayMs;

interface Found {
  readonly expires: ReadonlyMap<TufRole, number>;
  readonly outdated: readonly string[];
}

/**
 * Serves a repository, which may come into being later, and looks after it now and every ten minutes: snapshot and
 * timestamp are signed again when half of their life is over, if their keys are here.
 */
export function openTuf(options: TufOptions): ServedTuf {
  const { dir, clock } = options;
  let found: Found | undefined;
  const warn = createDailyWarnings(options);
  observe(options, () => found);

  async function lookOnce(): Promise<void> {
    try {
      if (!(await isTufRepository(dir))) return;
      const now = new Date(clock());
      await publish(options, now);
      const repository = await readTufRepository(dir);
      const outdated = differences(repository, await readTufTargets(options.trustDir, now));
      found = { expires: expiriesOf(repository), outdated };
      for (const text of complaints(options, found, now.getTime())) warn(text);
    } catch (error) {
      options.logger.error(
        { directory: dir, err: error },
        `the TUF repository cannot be kept fresh: ${messageOf(error)}`,
      );
    }
  }

  let last = Promise.resolve();
  const look = (): Promise<void> => {
    last = last.then(lookOnce);
    return last;
  };
  const timer = setInterval(() => void look(), lookEveryMs);
  timer.unref();
  return {
    routes: tufRoutes(dir),
    look,
    async close() {
      clearInterval(timer);
      await last;
    },
  };
}

async function publish({ dir, keysDir, logger }: TufOptions, now: Date): Promise<void> {
  if (!(await canPublish({ dir, keysDir }))) return;
  const published = await publishTuf({ dir, keysDir, now });
  if (published.length > 0) logger.info({ directory: dir, published }, 'TUF metadata signed and published');
}

function expiriesOf({ root, targets, snapshot, timestamp }: TufRepository): ReadonlyMap<TufRole, number> {
  const signed = { root, targets, snapshot, timestamp };
  return new Map(
    tufRoles.flatMap((role) => {
      const metadata = signed[role];
      return metadata === undefined ? [] : [[role, new Date(metadata.signed.expires).getTime()]];
    }),
  );
}

const remedy: Readonly<Record<TufRole, string>> = {
  root: 'sign it again with the offline root keys: mayfly trust tuf update --root',
  targets: 'sign it again with the offline targets key: mayfly trust tuf update --force',
  snapshot: 'its key is not in reach of this server: run mayfly trust tuf refresh where it is',
  timestamp: 'its key is not in reach of this server: run mayfly trust tuf refresh where it is',
};

function* complaints({ offlineDir }: TufOptions, { expires, outdated }: Found, now: number): Generator<string> {
  for (const [role, end] of expires) {
    // The server signs the online roles at half of their life: less than a day means that it cannot.
    const limitMs = role === 'root' || role === 'targets' ? warnBeforeMs : dayMs;
    if (end - now > limitMs) continue;
    const when = end > now ? 'ends' : 'ended';
    yield `the ${role} metadata of the TUF repository ${when} at ${new Date(end).toISOString()}, and clients trust nothing after that: ${remedy[role]}`;
  }
  if (outdated.length > 0) {
    const names = outdated.join(', ');
    yield `what the TUF repository hands to clients is out of date (${names}): sign it with the offline targets key: mayfly trust tuf update`;
  }
  if (existsSync(offlineDir)) {
    yield `the offline keys of the TUF repository lie beside the server in ${offlineDir}: move that directory to a safe place`;
  }
}

function createDailyWarnings({ logger, clock }: TufOptions): (text: string) => void {
  const said = new Map<string, number>();
  return (text) => {
    if (clock() - (said.get(text) ?? Number.NEGATIVE_INFINITY) < dayMs) return;
    said.set(text, clock());
    logger.warn(text);
  };
}

function observe({ metrics, clock }: TufOptions, found: () => Found | undefined): void {
  const registers = [metrics.registry];
  new Gauge({
    name: 'mayfly_tuf_seconds_until_expiry',
    help: 'Seconds until metadata of the TUF repository ends, by role',
    labelNames: ['role'],
    registers,
    collect() {
      for (const [role, end] of found()?.expires ?? []) this.set({ role }, (end - clock()) / 1000);
    },
  });
  new Gauge({
    name: 'mayfly_tuf_targets_outdated',
    help: 'How many targets of the TUF repository differ from the trust files of this instance',
    registers,
    collect() {
      this.set(found()?.outdated.length ?? 0);
    },
  });
}
