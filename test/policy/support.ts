import { parseIdentityConfig } from '../../src/config/identity.js';
import type { IssuerConfig } from '../../src/config/identity-types.js';
import { AppError } from '../../src/errors.js';
import { decide, type Outcome, type PolicyDefault } from '../../src/policy/rules.js';
import { policySubject } from '../../src/policy/subject.js';
import type { KeyAlgorithmName } from '../../src/proof/key-algorithms.js';
import type { San } from '../../src/x509/san.js';

export const issuerUrl = 'https://issuer.example.com';
export const usualSan: San = { kind: 'uri', value: 'https://issuer.example.com/jobs/1' };

/** The issuer of a configuration in which it has `policy` (allow, deny, policy-default) as given. */
export function issuerWith(policy: Record<string, unknown>): IssuerConfig {
  const entry = { 'client-id': 'sigstore', type: 'email', ...policy };
  const { issuers } = parseIdentityConfig(JSON.stringify({ 'oidc-issuers': { [issuerUrl]: entry } }), 'identity.yaml');
  const [issuer] = issuers;
  if (issuer === undefined) throw new Error('the configuration has no issuer');
  return issuer;
}

/** What the rules say of claims, as `allowed by RULE` or `denied by RULE`, RULE being `none` where no rule decided. */
export function decision(
  policy: Record<string, unknown>,
  claims: Record<string, unknown>,
  options: { san?: San; key?: KeyAlgorithmName; fallback?: PolicyDefault } = {},
): string {
  const { san = usualSan, key = 'ecdsa-p256', fallback = 'allow' } = options;
  const { outcome, byKey } = decide(issuerWith(policy).policy, fallback, policySubject(claims, san));
  return words(byKey.get(key) ?? outcome);
}

const words = ({ allowed, rule }: Outcome): string => `${allowed ? 'allowed' : 'denied'} by ${rule?.name ?? 'none'}`;

/** Whether an allow rule, and a deny rule, with these conditions hold for the claims. */
export function holds(conditions: Record<string, unknown>, claims: Record<string, unknown>, san: San = usualSan) {
  return {
    allow: decision({ allow: [{ name: 'r', ...conditions }] }, claims, { san }) === 'allowed by r',
    deny: decision({ deny: [{ name: 'r', ...conditions }] }, claims, { san }) === 'denied by r',
  };
}

/** The sentence with which a configuration with such rules is refused. */
export function refusal(policy: Record<string, unknown>): string {
  try {
    issuerWith(policy);
  } catch (error) {
    if (error instanceof AppError && error.code === 'STARTUP') return error.detail;
    throw error;
  }
  return 'it was accepted';
}
