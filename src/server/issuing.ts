import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { Audit } from '../audit/audit.js';
import { recordedIssue } from '../audit/recorded-issue.js';
import type { CertificateAuthority } from '../ca/authority.js';
import type { Cancellation } from '../cancellation.js';
import type { ServeConfig } from '../config/serve.js';
import type { CtLogs } from '../ct/log.js';
import type { CertificateWork } from '../issuance/work.js';
import { type IssueDeps, type Issued, type IssueRequest, type RequestContext, stageNames } from '../issue.js';
import type { Limits } from '../limits/limits.js';
import type { Metrics } from '../metrics.js';
import type { Policy } from '../policy.js';
import type { IssuerNames } from '../telemetry/issuer-label.js';
import { bound, lateObserver } from '../telemetry/late.js';
import type { SpanAttributes, Tracing } from '../telemetry/tracing.js';
import type { TokenStore } from '../token-reuse.js';
import type { IdentitySource } from './identity-source.js';
import type { InFlight } from './in-flight.js';

export interface IssuingDeps {
  readonly identity: IdentitySource;
  readonly ca: () => CertificateAuthority;
  readonly ctLog: CtLogs | undefined;
  readonly tokens: TokenStore | undefined;
  readonly work: CertificateWork;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly clock: () => number;
  readonly inFlight: InFlight;
  readonly limits: Pick<Limits, 'admit'>;
  readonly policy: Policy;
  readonly audit: Audit;
  readonly issuerNames: IssuerNames;
  /** Undefined: no traces. */
  readonly tracing?: Tracing | undefined;
}

/** issue() with this server's parts put in, counted, and with one log line for each certificate. */
export function createIssuing(config: ServeConfig, deps: IssuingDeps) {
  const { metrics, logger, tracing, issuerNames } = deps;
  const issuedOf = bound((issuer) => metrics.issued.labels({ issuer }));
  const issueDeps: IssueDeps = {
    issuers: () => deps.identity.current(),
    ca: deps.ca,
    admit: async (request) => {
      // Policy first: whom it refuses uses up nothing of what the others may have.
      const admission = await deps.policy.admit(request);
      await deps.limits.admit(request);
      return admission;
    },
    ctLog: deps.ctLog,
    work: deps.work,
    tokens: deps.tokens,
    lifetimeMs: config.certificateLifetimeMs,
    clock: deps.clock,
    random: pooledRandom(randomBytes),
    observe: tracing === undefined ? stageObserver(metrics) : tracedObserver(stageObserver(metrics), tracing),
  };
  return (request: IssueRequest, signal: Cancellation, context: RequestContext): Promise<Issued> =>
    deps.inFlight.run(async () => {
      try {
        const issued = await recordedIssue(deps.audit, request, issueDeps, signal, context);
        metrics.newCerts.inc();
        issuedOf(issuerNames.of(issued.principal.issuer)).inc();
        if (tracing?.identities) tracing.annotate(identityOf(issued));
        logger.info(logEntry(issued, context.requestId), 'certificate issued');
        return issued;
      } catch (error) {
        deps.policy.noteFailure(error);
        throw error;
      }
    });
}

/** Labels looked up once, not at every observation. */
function stageObserver(metrics: Metrics): IssueDeps['observe'] {
  const stages = new Map(stageNames.map((stage) => [stage, lateObserver(metrics.stage, { stage })]));
  return (stage, seconds) => stages.get(stage)?.(seconds);
}

function tracedObserver(observe: IssueDeps['observe'], tracing: Tracing): IssueDeps['observe'] {
  return (stage, seconds, agoSeconds) => {
    observe(stage, seconds, agoSeconds);
    tracing.past(stage, seconds, undefined, agoSeconds);
  };
}

function identityOf({ principal }: Issued): SpanAttributes {
  const { issuer, subject, san } = principal;
  return { 'mayfly.issuer': issuer, 'mayfly.subject': subject, 'mayfly.san': san.value };
}

/** Unpredictable bytes for many small requests from few large ones: one call takes 5 µs, whatever its size. */
function pooledRandom(random: (size: number) => Uint8Array): (size: number) => Uint8Array {
  let pool: Uint8Array = new Uint8Array();
  return (size) => {
    if (pool.length < size) pool = random(4096);
    const bytes = pool.subarray(0, size);
    pool = pool.subarray(size);
    return bytes;
  };
}

function logEntry(issued: Issued, requestId: string): object {
  const { principal, key } = issued;
  return {
    requestId,
    issuer: principal.issuer,
    subject: principal.subject,
    san: principal.san.value,
    key: key.algorithm,
    serial: Buffer.from(issued.serial).toString('hex'),
  };
}
