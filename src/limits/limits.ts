import type { Registry } from 'prom-client';
import type { LimitSettings } from '../config/limits.js';
import type { AuthenticatedRequest } from '../issue.js';
import { createBodyBudget } from './body-budget.js';
import { createGate, type GateOptions } from './gate.js';
import type { Intake } from './intake.js';
import { addressKey, identityKey, issuerKey } from './keys.js';
import { createLimitMetrics } from './metrics.js';
import { createPace } from './pace.js';
import { createQuota, type OnQuota, type Quota } from './quota.js';

/** The limits of one server: those in front of a request, and those on who asks. */
export interface Limits extends Intake {
  /**
   * Counts a request that policy allows against its identity and its issuer; throws AppError QUOTA_EXCEEDED. What policy
   * refuses is not counted: a stranger cannot use up what an issuer may have.
   */
  admit(request: AuthenticatedRequest): Promise<void>;
}

export interface LimitsDeps extends Pick<GateOptions, 'now' | 'random' | 'logger'> {
  readonly registry: Registry;
}

/** For each limit; an entry takes some 300 bytes. */
const maxKeys = 100_000;
const maxLargeBodyBytes = 64 * 1024 * 1024;
/** For each place, and in all: a burst of so many gets its certificates if half a second is enough for them. */
const waitingPerPlace = 8;
const mostWaiting = 1024;
const maxWaitMs = 500;
const standingMs = 250;
const calmMs = 1000;

/** What each limit counts, as its message says it. */
const counted = {
  identity: 'certificates for this identity',
  issuer: 'certificates for identities of this issuer',
  address: 'requests from this client address',
} as const;
type LimitName = keyof typeof counted;
const limitNames = Object.keys(counted) as readonly LimitName[];

/** Builds the limits that are configured; the counts live in this process and outlast a reload of the configuration. */
export function createLimits(settings: LimitSettings, deps: LimitsDeps): Limits {
  const { now } = deps;
  const pace = createPace({ perTick: 20, tickMs: 10, maxHeld: 4096 });
  const onRefusal = (): void => refusals.inc({ limit: 'overload' });
  const places = settings.maxInFlight;
  const maxWaiting = Math.min(waitingPerPlace * places, mostWaiting);
  const gate = createGate({ ...deps, places, maxWaiting, maxWaitMs, standingMs, calmMs, pace, onRefusal });
  const bodies = createBodyBudget(maxLargeBodyBytes);
  const quotas = new Map<LimitName, Quota>();
  for (const name of limitNames) {
    const rate = settings[name];
    if (rate !== undefined) quotas.set(name, createQuota({ name, of: counted[name], ...rate, maxKeys, now }));
  }
  const { refusals } = createLimitMetrics(deps.registry, {
    ...gate,
    keys: () => [...quotas].map(([name, quota]) => [name, quota.size()] as const),
  });

  async function take(name: LimitName, keyOf: () => string, onQuota: OnQuota | undefined): Promise<void> {
    try {
      await quotas.get(name)?.take(keyOf(), onQuota);
    } catch (refused) {
      refusals.inc({ limit: name });
      throw refused;
    }
  }

  return {
    check: () => gate.check(),
    async arrive({ clientAddress, onQuota }) {
      if (clientAddress === undefined) return;
      try {
        await take('address', () => addressKey(clientAddress), onQuota);
      } catch (refused) {
        await pace.turn();
        throw refused;
      }
    },
    meter: () => bodies.open(),
    run: (signal, work) => gate.run(signal, work),
    async admit({ principal, onQuota }) {
      // In this order: an identity that is over its own limit uses up nothing of its issuer's.
      await take('identity', () => identityKey(principal), onQuota);
      await take('issuer', () => issuerKey(principal), onQuota);
    },
  };
}
