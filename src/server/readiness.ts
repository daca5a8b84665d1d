import type { Audit } from '../audit/audit.js';
import type { CertificateAuthority } from '../ca/authority.js';
import type { CtLogs, Readiness } from '../ct/log.js';
import type { Check } from '../http/app.js';
import { type IssuerNames, issuerHealth } from '../telemetry/issuer-label.js';
import type { IdentitySource } from './identity-source.js';
import type { OpenedLogs } from './open-log.js';
import type { OpenedPolicy } from './open-policy.js';
import type { Timestamps } from './open-tsa.js';

export interface ReadinessDeps {
  readonly identity: IdentitySource;
  readonly ca: () => CertificateAuthority;
  readonly signerTrouble: () => string | undefined;
  /** Why the CAs on disk are not in force; the ones in force go on. */
  readonly caRefusal: () => string | undefined;
  readonly ctLog: CtLogs | undefined;
  /** Undefined without a timestamp authority. */
  readonly timestamps: Pick<Timestamps, 'routes' | 'trouble'>;
  readonly audit: Pick<Audit, 'kept' | 'trouble'>;
  readonly policy: Pick<OpenedPolicy, 'server'>;
  readonly logs: Pick<OpenedLogs, 'each'>;
  readonly issuerNames: IssuerNames;
  readonly storageTrouble: () => string | undefined;
  readonly lifetimeMs: number;
  readonly clock: () => number;
  readonly stopping: () => boolean;
}

/** What must hold for a certificate to be issued now, one check per dependency; nothing is contacted to find out. */
export function readinessChecks(deps: ReadinessDeps): Check[] {
  return [
    check('server', deps.stopping() ? 'the server is shutting down' : undefined),
    check('identity-configuration', deps.identity.missing()),
    { ...check('certificate-authority', caTrouble(deps)), ...caNotice(deps) },
    check('signer', deps.signerTrouble()),
    check('ct-log', logTrouble(deps.ctLog)),
    ...deps.logs.each().map((log) => ({ ...optional('log', log.readiness()), target: log.name })),
    ...issuerChecks(deps),
    optional('storage', readinessOf(deps.storageTrouble())),
    ...(deps.audit.kept ? [check('audit-trail', auditTrouble(deps.audit))] : []),
    ...policyChecks(deps.policy),
    ...(deps.timestamps.routes === undefined ? [] : [check('timestamp-authority', deps.timestamps.trouble())]),
  ];
}

function policyChecks({ server }: Pick<OpenedPolicy, 'server'>): Check[] {
  if (server === undefined) return [];
  return [{ ...check('policy-server', server.trouble()), required: server.required }];
}

/** What is good to know of issuers and logs one by one, and no reason to send no requests here. */
function optional(name: string, readiness: Readiness): Check {
  return { name, ...readiness, required: false };
}

/** No issuer is required: which of them is down is the business of those who use it. */
function issuerChecks({ identity, issuerNames }: ReadinessDeps): Check[] {
  const health = issuerHealth(identity.current(), issuerNames);
  return [...health].map(([issuer, { failure }]) => ({ ...optional('issuer', readinessOf(failure)), target: issuer }));
}

function readinessOf(trouble: string | undefined): Readiness {
  return trouble === undefined ? { ok: true } : { ok: false, reason: trouble };
}

function check(name: string, trouble: string | undefined): Check {
  return { name, ...readinessOf(trouble), required: true };
}

/** Worth saying, and no reason to send no requests here. */
function caNotice(deps: ReadinessDeps): { reason?: string } {
  const reason = caTrouble(deps) ?? deps.caRefusal();
  return reason === undefined ? {} : { reason };
}

function caTrouble(deps: ReadinessDeps): string | undefined {
  const { notBefore, notAfter } = deps.ca();
  const now = deps.clock();
  if (now < notBefore.getTime()) return `the issuing CA is valid from ${notBefore.toISOString()} only`;
  if (now + deps.lifetimeMs > notAfter.getTime()) {
    return `the issuing CA ends at ${notAfter.toISOString()}, before a certificate issued now would`;
  }
  return undefined;
}

function auditTrouble(audit: ReadinessDeps['audit']): string | undefined {
  const reason = audit.trouble();
  return reason === undefined ? undefined : `the audit trail cannot be written: ${reason}`;
}

function logTrouble(ctLog: CtLogs | undefined): string | undefined {
  const readiness = ctLog?.readiness() ?? { ok: true };
  return readiness.ok ? undefined : readiness.reason;
}
