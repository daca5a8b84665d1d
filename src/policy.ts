import type { Logger } from 'pino';
import type { IssuerConfig } from './config/identity-types.js';
import { AppError, toAppError } from './errors.js';
import type { Principal } from './identity/principal.js';
import { quote } from './identity/quote.js';
import type { VerifiedToken } from './identity/token.js';
import type { OpaSettings, PolicyServer } from './policy/opa.js';
import { type Decision, decide, type Outcome, type PolicyDefault } from './policy/rules.js';
import { policySubject } from './policy/subject.js';
import { type KeyAlgorithmName, keyAlgorithms } from './proof/key-algorithms.js';
import type { KeyPolicy, KeyRefusal } from './proof.js';

export interface PolicySettings {
  /** For issuers without allow rules and without a policy-default of their own. */
  readonly fallback: PolicyDefault;
  /** Denies nobody; what would be denied is logged and counted. */
  readonly dryRun: boolean;
  /** Asked about everything that the rules let through. */
  readonly opa?: OpaSettings;
}

export interface PolicyDeps {
  readonly keyPolicy: KeyPolicy;
  readonly server: PolicyServer | undefined;
  readonly logger: Pick<Logger, 'warn'>;
  readonly count: (outcome: PolicyOutcome, rule: string | undefined) => void;
}

export type PolicyOutcome = 'allowed' | 'denied' | 'would-deny';

/** A request whose token is good. */
export interface PolicyRequest {
  readonly requestId: string;
  readonly clientAddress: string | undefined;
  readonly token: VerifiedToken;
  readonly issuer: IssuerConfig;
  readonly principal: Principal;
}

/** That a request may go on, with which kinds of key, and by which rule once the kind of its key is known. */
export interface PolicyAdmission {
  readonly keyPolicy: KeyPolicy;
  readonly rule: (algorithm: KeyAlgorithmName) => string | undefined;
}

export interface Policy {
  /** Throws AppError POLICY_DENIED or POLICY_UNAVAILABLE; with a policy server it answers later. */
  admit(request: PolicyRequest): PolicyAdmission | Promise<PolicyAdmission>;
  /** Counts an error if it is a denial: those over keys are thrown where the key is looked at. */
  noteFailure(error: unknown): void;
}

/**
 * Who may get a certificate: the rules of the token's issuer, then the policy server, if there is one. Both have to allow
 * it, and a policy server that does not answer allows nothing.
 */
export function createPolicy(settings: PolicySettings, deps: PolicyDeps): Policy {
  const { server, keyPolicy, count } = deps;

  function wouldDeny(request: PolicyRequest, { detail, rule }: Pick<AppError, 'detail' | 'rule'>): void {
    count('would-deny', rule);
    const { requestId, principal } = request;
    const who = { requestId, issuer: principal.issuer, subject: principal.subject, san: principal.san.value };
    deps.logger.warn({ ...who, rule: rule ?? 'none' }, `policy dry run: this would be denied: ${detail}`);
  }

  /** In a dry run the failure is told and the request goes on. */
  function refuse(request: PolicyRequest, error: AppError): PolicyAdmission {
    if (!settings.dryRun) throw error;
    wouldDeny(request, error);
    return { keyPolicy, rule: () => undefined };
  }

  function goOn(request: PolicyRequest, decision: Decision, refused: Refusals, opaRule?: string): PolicyAdmission {
    return {
      keyPolicy: refused.size === 0 || settings.dryRun ? keyPolicy : { ...keyPolicy, refused },
      rule(algorithm) {
        const refusal = refused.get(algorithm);
        if (refusal !== undefined) {
          wouldDeny(request, refusal);
          return undefined;
        }
        const rule = outcomeOf(decision, algorithm).rule?.name ?? opaRule;
        count('allowed', rule);
        return rule;
      },
    };
  }

  return {
    admit(request) {
      const { token, issuer, principal } = request;
      const decision = decide(issuer.policy, settings.fallback, policySubject(token.claims, principal.san));
      const refused = refusals(request, decision, keyPolicy);
      if (refused.size === keyPolicy.allowed.size) return refuse(request, denial(request, decision, refused));
      if (server === undefined) return goOn(request, decision, refused);
      return askServer(server, request).then(
        (rule) => goOn(request, decision, refused, rule),
        (error: unknown) => refuse(request, toAppError(error)),
      );
    },
    noteFailure(error) {
      if (error instanceof AppError && error.code === 'POLICY_DENIED') count('denied', error.rule);
    },
  };
}

/** What a decision of the policy server goes by in metrics and the audit trail. */
export const serverRule = 'opa';

type Refusals = ReadonlyMap<KeyAlgorithmName, KeyRefusal>;

const nothingRefused: Refusals = new Map();
const askForIt = 'ask the operator of this instance for a rule that allows it';

const outcomeOf = (decision: Decision, key: KeyAlgorithmName): Outcome => decision.byKey.get(key) ?? decision.outcome;

const sanOf = ({ principal }: PolicyRequest): string => `${principal.san.kind} ${quote(principal.san.value)}`;

/** Of the kinds of key that the server takes, those that may not be brought here, each with what its owner is told. */
function refusals(request: PolicyRequest, decision: Decision, { allowed }: KeyPolicy): Refusals {
  if (decision.outcome.allowed && decision.byKey.size === 0) return nothingRefused;
  const refused = new Map<KeyAlgorithmName, KeyRefusal>();
  for (const key of allowed) {
    const outcome = outcomeOf(decision, key);
    if (outcome.allowed) continue;
    const what = `${keyAlgorithms[key].title} keys for ${sanOf(request)}`;
    refused.set(key, { rule: outcome.rule?.name, detail: sentence(request, outcome, what) });
  }
  return refused;
}

/** The answer to a request that no key could help. */
function denial(request: PolicyRequest, { outcome, byKey }: Decision, refused: Refusals): AppError {
  const first = [...refused.keys()][0];
  const decisive = outcome.allowed && first !== undefined ? (byKey.get(first) ?? outcome) : outcome;
  const detail = sentence(request, decisive, sanOf(request));
  return new AppError('POLICY_DENIED', detail, decisive.rule === undefined ? {} : { rule: decisive.rule.name });
}

/** Names a rule, never what is in it. */
function sentence({ principal }: PolicyRequest, { rule }: Outcome, what: string): string {
  const from = `from issuer ${quote(principal.issuer)}`;
  if (rule === undefined) return `no rule allows ${what} ${from}; ${askForIt}`;
  if (rule.message !== '') return `rule "${rule.name}" denies ${what} ${from}: ${rule.message}`;
  return `rule "${rule.name}" denies ${what} ${from}; ask the operator of this instance what it is for`;
}

/** The name of the policy server's decision, if it allows the request. Throws AppError POLICY_DENIED or POLICY_UNAVAILABLE. */
async function askServer(server: PolicyServer, request: PolicyRequest): Promise<string> {
  const { allowed, reason, rule } = await server.ask(serverInput(request));
  const name = rule === '' ? serverRule : `${serverRule}: ${rule}`;
  if (allowed) return name;
  const named = rule === '' ? '' : `, rule ${quote(rule)},`;
  const why = reason === '' ? '' : `: ${reason}`;
  throw new AppError('POLICY_DENIED', `the policy server${named} denies ${sanOf(request)}${why}; ${askForIt}`, {
    rule: name,
  });
}

/** The `input` document of docs/policy.md. */
function serverInput({ requestId, clientAddress, token, issuer, principal }: PolicyRequest): object {
  const { san, subject } = principal;
  return {
    version: 1,
    issuer: principal.issuer,
    issuer_entry: issuer.url,
    issuer_type: issuer.type,
    subject,
    san: { type: san.kind, value: san.value },
    claims: token.claims,
    request: { id: requestId, client_address: clientAddress ?? null },
  };
}
