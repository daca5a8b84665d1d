import type { LimitSettings } from '../config/limits.js';
import type { ErrorCode } from '../errors.js';
import type { AuthenticatedRequest } from '../issue.js';
import type { Metrics } from '../metrics.js';
import { createBodyBudget } from './body-budget.js';
import { createGate, type GateOptions } from './gate.js';
import type { Intake } from './intake.js';
import { addressKey, identityKey, issuerKey } from './keys.js';
import { createLimitMetrics } from './metrics.js';
import { createQuota, type Quota } from './quota.js';

/** The limits of one server: those in front of a request, and those on who asks. */
export interface Limits extends Intake {
  /**
   * Counts a request that policy allows against its identity and its issuer; throws AppError QUOTA_EXCEEDED. What policy
   * refuses is not counted: a stranger cannot use up what an issuer may have.
   */
  admit(request: AuthenticatedRequest): Promise<void>;
}

export interface LimitsDeps extends Pick<GateOptions, 'now' | 'random' | 'logger'> {
  readonly metrics: Pick<Metrics, 'rejections' | 'registry'>;
}

/** For each limit; an entry takes some 300 bytes. */
const maxKeys = 100_000;
const maxLargeBodyBytes = 64 * 1024 * 1024;
/** What is worked off in this time, several hundred requests, may come at once. */
const maxWaitMs = 250;
const maxWaiting = 1024;
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
  const gate = createGate({
    ...deps,
    places: settings.maxInFlight,
    maxWaiting,
    maxWaitMs,
    calmMs,
    onRefusal: () => count('overload', 'OVERLOADED'),
  });
  const bodies = createBodyBudget(maxLargeBodyBytes);
  const quotas = new Map<LimitName, Quota>();
  for (const name of limitNames) {
    const rate = settings[name];
    if (rate !== undefined) quotas.set(name, createQuota({ name, of: counted[name], ...rate, maxKeys, now }));
  }
  const { refusals } = createLimitMetrics(deps.metrics.registry, {
    ...gate,
    keys: () => [...quotas].map(([name, quota]) => [name, quota.size()] as const),
  });

  function count(limit: LimitName | 'overload', reason?: ErrorCode): void {
    refusals.inc({ limit });
    if (reason !== undefined) deps.metrics.rejections.inc({ issuer: 'other', reason });
  }

  return {
    async arrive({ clientAddress, onQuota }) {
      gate.check();
      const addresses = quotas.get('address');
      if (clientAddress === undefined || addresses === undefined) return;
      await addresses.take(addressKey(clientAddress), onQuota).catch((refused: unknown) => {
        count('address', 'QUOTA_EXCEEDED');
        throw refused;
      });
    },
    meter: () => bodies.open(),
    run: (signal, work) => gate.run(signal, work),
    async admit({ principal, onQuota }) {
      for (const [name, keyOf] of admissionKeys) {
        await quotas
          .get(name)
          ?.take(keyOf(principal), onQuota)
          .catch((refused: unknown) => {
            // Whoever issues counts the rejection.
            count(name);
            throw refused;
          });
      }
    },
  };
}

/** In this order: an identity that is over its own limit uses up nothing of its issuer's. */
const admissionKeys = [
  ['identity', identityKey],
  ['issuer', issuerKey],
] as const;
