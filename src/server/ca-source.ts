import type { Logger } from 'pino';
import type { CertificateAuthority } from '../ca/authority.js';
import type { Authorities } from '../ca/life-cycle.js';
import { isSameKey } from '../ca/same-key.js';
import { messageOf } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { createExpiryWarnings, observeCas } from './ca-expiry.js';
import { stampOf, watchFiles } from './ca-files.js';
import type { CaPlace } from './ca-place.js';
import { type CaView, createViews } from './ca-view.js';
import { type WatchedSigner, watchSigner } from './signer-watch.js';

/** The certificate authorities in force, and how they are replaced. */
export interface CaSource {
  /** The snapshot a request takes; its signer stays open until every request that took it is done. */
  current(): CertificateAuthority;
  /** Every CA that clients are to know now. */
  view(): CaView;
  /** Why the active CA's key cannot sign; undefined while it can. */
  signerTrouble(): string | undefined;
  /** Why what is on disk is not in force, or a next CA could not be; undefined while all is well. */
  refusal(): string | undefined;
  /**
   * Runs `publish` with the view in force, and from then on with every later one before that is in force; what it throws
   * then keeps the old one.
   */
  beforeChange(publish: (view: CaView) => Promise<void>): Promise<void>;
  /** Calls `listener` after another CA became active; the old one's key stays open until what it returns is done. */
  onChange(listener: (active: CertificateAuthority) => void | Promise<void>): void;
  /** Looks at everything anew, and opens the key again. Never throws: a state that is wrong leaves the old one. */
  reload(why: string): Promise<void>;
  close(): Promise<void>;
}

export interface CaSourceDeps {
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'registry'>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Resolves when the requests that are under way now are done. */
  readonly settled: () => Promise<void>;
}

/** How often everything is looked at without a sign from the file system: network file systems give none. */
const lookEveryMs = 10_000;

/** What is in force. */
interface Held {
  readonly authorities: Authorities;
  readonly ca: CertificateAuthority;
  readonly watched: WatchedSigner;
  readonly view: CaView;
  /** Of the files that the CA was opened from. */
  readonly stamp: string;
}

/** Opens the active CA of `place`, records it, and watches both. Throws AppError STARTUP. */
export async function openCaSource(place: CaPlace, deps: CaSourceDeps): Promise<CaSource> {
  const { logger, clock } = deps;
  const viewOf = createViews();
  const publishers: ((view: CaView) => Promise<void>)[] = [];
  const listeners: ((active: CertificateAuthority) => void | Promise<void>)[] = [];
  let refusal: string | undefined;
  let trouble: string | undefined;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  /** When the last look began. */
  let lookedAt = clock();

  /** The CA as the files are now, or the one in force where they hold the same. */
  async function openAnew(before: Held | undefined, authorities: Authorities): Promise<CertificateAuthority> {
    const opened = await place.open(authorities);
    if (before === undefined || !isSame(before.ca, opened)) return opened;
    await opened.signer.close();
    return before.ca;
  }

  async function load(before: Held | undefined, isForced: boolean): Promise<Held> {
    const planned = await place.read();
    const stamp = await stampOf(place.files(planned));
    const isUnchanged = before !== undefined && !isForced && stamp === before.stamp;
    if (isUnchanged && isEqual(planned, before.authorities)) return before;
    const ca = isUnchanged ? before.ca : await openAnew(before, planned);
    try {
      const authorities = await place.record(ca, planned, before === undefined);
      const watched = ca === before?.ca ? before.watched : watchSigner(ca.signer, clock);
      const active = ca === before?.ca ? before.view.active : { ...ca, signer: watched.signer };
      const view = viewOf(authorities, active);
      if (before === undefined || !isEqual(authorities, before.authorities)) {
        for (const publish of publishers) await publish(view);
      }
      return { authorities, ca, watched, view, stamp };
    } catch (error) {
      if (ca !== before?.ca) await ca.signer.close();
      throw error;
    }
  }

  let held = await load(undefined, true);
  const { reloads } = observeCas(deps.metrics, () => held.view, clock);
  const warn = createExpiryWarnings(logger, clock);
  warn(held.view);
  trouble = await place.rehearse(held.authorities);
  if (trouble !== undefined) logger.warn(trouble);

  async function look(why: string, isForced: boolean): Promise<void> {
    if (closed) return;
    lookedAt = clock();
    const before = held;
    try {
      held = await load(before, isForced || refusal !== undefined);
      if (refusal !== undefined) logger.info({ why }, 'the certificate authorities on disk are in order again');
      refusal = undefined;
    } catch (error) {
      if (messageOf(error) === refusal) return;
      refusal = messageOf(error);
      reloads.inc({ result: 'refused' });
      logger.error({ why, err: error }, `change of the certificate authority refused, the old one stays: ${refusal}`);
      return;
    }
    if (!isEqual(held.authorities, before.authorities)) {
      trouble = await place.rehearse(held.authorities);
      if (trouble !== undefined) logger.warn({ why }, trouble);
      reloads.inc({ result: 'loaded' });
      logger.info({ why, cas: states(held.view) }, 'certificate authorities loaded anew');
    }
    if (held.ca !== before.ca) afterSwitch(before, held);
    warn(held.view);
  }

  const leaving = new Set<Promise<void>>();

  function afterSwitch(before: Held, now: Held): void {
    const entry = { from: nameOf(before.view), to: nameOf(now.view) };
    logger.info(entry, 'another certificate authority is active; certificates are issued by it from now on');
    const done = leave(before, now).catch((error: unknown) => {
      logger.error({ ...entry, err: error }, 'putting the former certificate authority to rest failed');
    });
    leaving.add(done);
    void done.finally(() => leaving.delete(done));
  }

  /** The old key is closed, and its last issuance recorded, once no request can use it any more. */
  async function leave(before: Held, now: Held): Promise<void> {
    await Promise.all(listeners.map(async (listener) => listener(now.view.active)));
    await deps.settled();
    await before.ca.signer.close();
    await place.left(before.ca);
    if (!closed) void run('the former CA has issued its last certificate', false);
  }

  /** One look after the other. */
  let last: Promise<void> = Promise.resolve();
  function run(why: string, isForced: boolean): Promise<void> {
    last = last.then(() => look(why, isForced)).then(schedule);
    return last;
  }

  function schedule(): void {
    clearTimeout(timer);
    if (closed) return;
    const due = held.authorities.promotion?.at.getTime() ?? Number.POSITIVE_INFINITY;
    // One that came due while a look went on was not seen by it; one that a look could not make waits for its turn.
    const waitMs = due > lookedAt ? Math.min(Math.max(due - clock(), 0), lookEveryMs) : lookEveryMs;
    timer = setTimeout(() => void run('time', false), waitMs);
    timer.unref();
  }

  const watcher = watchFiles(place.watched, () => void run('file changed', false));
  schedule();
  return {
    current: () => held.view.active,
    view: () => held.view,
    signerTrouble: () => held.watched.trouble(),
    refusal: () => refusal ?? trouble,
    async beforeChange(publish) {
      const first = last.then(() => {
        publishers.push(publish);
        return publish(held.view);
      });
      last = first.catch(() => undefined);
      await first;
    },
    onChange: (listener) => void listeners.push(listener),
    reload: (why) => run(why, true),
    async close() {
      closed = true;
      watcher.close();
      clearTimeout(timer);
      await last;
      await Promise.all(leaving);
      await held.ca.signer.close();
    },
  };
}

function isSame(a: CertificateAuthority, b: CertificateAuthority): boolean {
  return a.chainPem.join('') === b.chainPem.join('') && isSameKey(a.signer.publicKey, b.signer.publicKey);
}

function isEqual(a: Authorities, b: Authorities): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function nameOf({ published }: CaView): string {
  return published[0]?.name ?? 'none';
}

function states({ published }: CaView): readonly string[] {
  return published.map(({ name, state }) => `${name} ${state}`);
}
