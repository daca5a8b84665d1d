import { AppError } from '../errors.js';
import type { Issuer } from './issuer.js';
import { toPrincipal } from './issuer-types.js';
import type { Issuers } from './issuers.js';
import type { Principal } from './principal.js';
import { quote } from './quote.js';
import { assumeVerified, checkSignature, parseToken, type RawToken } from './token.js';
import { checkAudience, checkTimes } from './token-checks.js';

/** One thing that must hold for a token, and whether it does. */
export interface Finding {
  readonly check: string;
  readonly result: 'passed' | 'failed' | 'skipped';
  readonly detail: string;
}

export interface Inspection {
  readonly findings: readonly Finding[];
  /** What a certificate would say; undefined when the claims do not make an identity. */
  readonly principal: Principal | undefined;
}

/**
 * Every check that a token passes or fails, for an operator to read; a failed one does not keep the rest from being
 * made. Never to be used to let anybody in. `askIssuer` false leaves out the signature, which needs the issuer's keys.
 */
export async function inspectToken(
  jwt: string,
  issuers: Issuers,
  clock: () => number,
  askIssuer: boolean,
): Promise<Inspection> {
  const findings: Finding[] = [];
  const attempt = async <T>(check: string, detail: string, run: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      const value = await run();
      findings.push({ check, result: 'passed', detail });
      return value;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      findings.push({ check, result: 'failed', detail: `${error.code}: ${error.detail}` });
      return undefined;
    }
  };
  const raw = await attempt('form', 'a JWT of one reading, with a supported algorithm', () => parseToken(jwt));
  if (raw === undefined) return { findings, principal: undefined };
  const issuer = await attempt('issuer', quote(raw.issuer), () => issuers.match(raw.issuer));
  if (issuer === undefined) return { findings, principal: undefined };
  const keyName = raw.keyId === undefined ? 'no key id' : `key id ${quote(raw.keyId)}`;
  if (askIssuer) await attempt('signature', `${raw.algorithm}, ${keyName}`, () => checkSignature(raw, issuer));
  else
    findings.push({
      check: 'signature',
      result: 'skipped',
      detail: `${raw.algorithm}, ${keyName}; not checked offline`,
    });
  await attempt('audience', issuer.config.clientId, () => checkAudience(raw.untrustedClaims, issuer.config.clientId));
  await attempt('times', 'within exp, nbf and iat', () => checkTimes(raw.untrustedClaims, clock()));
  const principal = await attempt('identity', `type ${issuer.config.type}`, () => principalOf(raw, issuer));
  return { findings, principal };
}

function principalOf(raw: RawToken, issuer: Issuer): Principal {
  return toPrincipal(assumeVerified(raw), issuer);
}
