import type { CertificateAuthority } from './ca/authority.js';
import type { Cancellation } from './cancellation.js';
import type { IssuerConfig } from './config/identity-types.js';
import type { CtLogs, PrecertSubmission, Sct } from './ct/log.js';
import { AppError } from './errors.js';
import { toPrincipal } from './identity/issuer-types.js';
import type { Issuers } from './identity/issuers.js';
import type { Principal } from './identity/principal.js';
import { parseToken, type VerifiedToken, verifyToken } from './identity/token.js';
import { openCompletion } from './issuance/completion.js';
import type { LeafTemplate } from './issuance/steps.js';
import type { CertificateWork } from './issuance/work.js';
import type { OnQuota } from './limits/quota.js';
import type { KeyAlgorithmName } from './proof/key-algorithms.js';
import type { KeyPolicy, KeyRequest, ProvenKey } from './proof.js';
import type { TokenStore } from './token-reuse.js';
import { assembleTbs, newSerial } from './x509/tbs.js';

/** What a client asks for, whichever wire it came over. */
export interface IssueRequest {
  /** The compact JWS as it came; '' when none was given. */
  readonly token: string;
  readonly key: KeyRequest;
}

/** Where a request came from: for log lines, limits and the audit trail. */
export interface RequestContext {
  readonly requestId: string;
  /** IP address of the client, as far as it is known; undefined for a local caller. */
  readonly clientAddress: string | undefined;
  /** Told how each limit stands that counted the request, before one that is used up refuses it. */
  readonly onQuota?: OnQuota;
}

/** A request whose token is good; its key has not been looked at. */
export interface AuthenticatedRequest extends RequestContext {
  readonly token: VerifiedToken;
  /** The entry of the identity configuration that the token was verified by. */
  readonly issuer: IssuerConfig;
  readonly principal: Principal;
}

/** That a request may have its certificate, and under which conditions. */
export interface Admission {
  readonly keyPolicy: KeyPolicy;
  /** The rule that allowed it, if one did; asked once, when the key is proven, because rules may be about keys. */
  readonly rule?: (algorithm: KeyAlgorithmName) => string | undefined;
}

/** A precertificate that is about to be shown to a log. */
export interface Intent extends AuthenticatedRequest {
  readonly serial: Uint8Array;
  readonly key: ProvenKey;
  readonly rule: string | undefined;
  /** What the log will be shown. */
  readonly submission: PrecertSubmission;
}

/** One issued certificate and everything that proves it was logged. */
export interface Issued {
  /** DER of the leaf; with `scts` undefined it carries none (the CT log is off). */
  readonly certificate: Uint8Array;
  readonly ca: CertificateAuthority;
  /** As they are embedded. */
  readonly scts: readonly Sct[] | undefined;
  readonly serial: Uint8Array;
  readonly principal: Principal;
  readonly key: ProvenKey;
  /** The policy's rule that allowed it, if there are rules. */
  readonly rule: string | undefined;
}

export const stageNames = ['token', 'policy', 'proof', 'sign', 'log'] as const;
export type Stage = (typeof stageNames)[number];

export interface IssueDeps {
  /** The identity configuration in force; one snapshot is taken per request. */
  readonly issuers: () => Issuers;
  /** The active CA; one snapshot is taken per request. */
  readonly ca: () => CertificateAuthority;
  /** Quotas and policy: throws AppError for a request that may have no certificate. */
  readonly admit: (request: AuthenticatedRequest) => Admission | Promise<Admission>;
  /** Told, and awaited, before a log is asked, so that a certificate's intent is on record before anything is promised. */
  readonly intend?: (intent: Intent) => void | Promise<void>;
  /** Who checks proofs and signs certificates. */
  readonly work: CertificateWork;
  /** Undefined only when the operator turned CT off. */
  readonly ctLog: CtLogs | undefined;
  /** Remembers used tokens; undefined lets a token be used until it expires, as Fulcio does. */
  readonly tokens: TokenStore | undefined;
  readonly lifetimeMs: number;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly random: (size: number) => Uint8Array;
  /** Called with what each finished step took, and how long ago it ended, both in seconds. */
  readonly observe: (stage: Stage, seconds: number, agoSeconds: number) => void;
}

/**
 * The pipeline: token → issuer → verified claims → principal → policy → proof of possession → precertificate → log → SCT
 * → certificate. Nothing leaves it without its SCTs unless CT is off.
 *
 * Throws AppError for everything a client or the operator can cause; aborting `signal` ends the wait for the log, not
 * a submission already made (RFC 6962 logs cannot forget).
 */
export async function issue(
  request: IssueRequest,
  deps: IssueDeps,
  signal: Cancellation,
  context: RequestContext,
): Promise<Issued> {
  const ca = deps.ca();
  const started = performance.now();
  const authenticated = await authenticate(request.token, deps, context);
  const { token, principal } = authenticated;
  const verified = performance.now();
  deps.observe('token', (verified - started) / 1000, 0);
  const admission = await deps.admit(authenticated);
  deps.observe('policy', (performance.now() - verified) / 1000, 0);
  const leaf = leafTemplate(principal, ca, deps);
  const logged = deps.ctLog !== undefined;
  const { challenge, alternativeChallenge: other } = principal;
  const challenges = [challenge.value, ...(other === undefined ? [] : [other.value])] as const;
  const order = { request: request.key, challenges, policy: admission.keyPolicy, leaf, logged };
  const { key, precertificate, parts, seconds } = await deps.work.precertify(order, ca);
  deps.observe('proof', seconds.proof, seconds.sign);
  deps.observe('sign', seconds.sign, 0);
  // Nothing can fail any more that is not the log's or the signer's trouble, so the token's one use is spent now.
  await deps.tokens?.reserve(token);
  const { serial } = leaf;
  const rule = admission.rule?.(key.algorithm);
  const submission = { precertificate, chain: ca.chain, tbs: assembleTbs(parts), issuerKeyHash: ca.issuerKeyHash };
  if (deps.intend !== undefined) await deps.intend({ ...authenticated, serial, key, rule, submission });
  if (deps.ctLog === undefined)
    return { certificate: precertificate, ca, scts: undefined, serial, principal, key, rule };
  const submitted = performance.now();
  const completion = openCompletion(deps.work, { parts, precertificate }, ca);
  const scts = await deps.ctLog.submit(submission, signal, completion.signSct);
  const answered = performance.now();
  deps.observe('log', (answered - submitted) / 1000, 0);
  const signed = await completion.certificate(scts);
  deps.observe('sign', signed.seconds, signed.agoSeconds);
  const { certificate } = signed;
  return { certificate, ca, scts, serial, principal, key, rule };
}

async function authenticate(
  jwt: string,
  deps: IssueDeps,
  { requestId, clientAddress, onQuota }: RequestContext,
): Promise<AuthenticatedRequest> {
  const raw = parseToken(jwt);
  const issuer = deps.issuers().match(raw.issuer);
  const token = await verifyToken(raw, issuer, deps.clock);
  const principal = toPrincipal(token, issuer);
  const { config } = issuer;
  return onQuota === undefined
    ? { requestId, clientAddress, token, issuer: config, principal }
    : { requestId, clientAddress, onQuota, token, issuer: config, principal };
}

function leafTemplate(principal: Principal, ca: CertificateAuthority, deps: IssueDeps): LeafTemplate {
  const now = Math.floor(deps.clock() / 1000) * 1000;
  const notAfter = new Date(now + deps.lifetimeMs);
  if (notAfter > ca.notAfter || now < ca.notBefore.getTime()) {
    throw new AppError(
      'CA_EXPIRING',
      `a certificate from now to ${notAfter.toISOString()} would not lie within the validity of the issuing CA, ` +
        `${ca.notBefore.toISOString()} to ${ca.notAfter.toISOString()}; the operator has to renew the CA`,
    );
  }
  const { san, extensions } = principal;
  return { serial: newSerial(deps.random), notBefore: new Date(now), notAfter, san, extensions };
}
