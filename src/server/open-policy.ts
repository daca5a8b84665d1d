import type { Logger } from 'pino';
import type { ServeConfig } from '../config/serve.js';
import type { Issuers } from '../identity/issuers.js';
import type { Metrics } from '../metrics.js';
import { opaServer } from '../policy/opa.js';
import { watchPolicyServer } from '../policy/server-watch.js';
import { createPolicy, type Policy, serverRule } from '../policy.js';
import { clientSigningAlgorithms, defaultKeyPolicy } from '../proof.js';
import type { Closing } from './closing.js';
import type { IdentitySource } from './identity-source.js';

interface PolicyPlace {
  readonly identity: IdentitySource;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly closing: Closing;
}

export interface OpenedPolicy extends Policy {
  /** The policy server as a dependency: why it decides nothing now; undefined without one. */
  readonly server: { readonly trouble: () => string | undefined; readonly required: boolean } | undefined;
}

/** How long nobody asks the policy server before it is asked whether it answers, in milliseconds. */
const idleMs = 5000;

/**
 * The policy that --policy-*, --opa-* and --client-signing-algorithms ask for; its rules come with each request's issuer.
 * Throws AppError STARTUP.
 */
export function openPolicy(config: ServeConfig, { identity, logger, metrics, closing }: PolicyPlace): OpenedPolicy {
  const { policy: settings, clientSigningAlgorithms: names } = config;
  const server = settings.opa === undefined ? undefined : watchPolicyServer(opaServer(settings.opa), idleMs);
  if (server !== undefined) closing.add(() => server.close());
  if (settings.dryRun) logger.warn('POLICY DRY RUN (--policy-dry-run): nobody is denied, would-be denials are logged');
  const announce = (): void => {
    for (const warning of warnings(identity.current(), config)) logger.warn(warning);
  };
  announce();
  identity.onChange(announce);
  const policy = createPolicy(settings, {
    keyPolicy: names === undefined ? defaultKeyPolicy : clientSigningAlgorithms(names),
    server,
    logger,
    count: (outcome, rule) => metrics.policyDecisions.inc({ outcome, rule: label(rule) }),
  });
  // In a dry run requests go on without it.
  return { ...policy, server: server && { trouble: server.trouble, required: !settings.dryRun } };
}

/** The names of rules are as many as the configuration has; those that a policy server gives are not counted apart. */
function label(rule: string | undefined): string {
  if (rule === undefined) return 'none';
  return rule.startsWith(`${serverRule}:`) ? serverRule : rule;
}

function warnings({ config }: Issuers, { policy }: ServeConfig): string[] {
  return [...config.issuers, ...config.metaIssuers]
    .filter((issuer) => issuer.policy.allow.length === 0 && (issuer.policy.fallback ?? policy.fallback) === 'deny')
    .map(
      ({ url }) =>
        `no rule allows anything for issuer ${url}, and its policy default is deny: all its tokens are denied`,
    );
}
