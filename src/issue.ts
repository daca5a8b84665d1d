import type { CertificateAuthority } from './ca/authority.js';
import type { CtLogs, Sct } from './ct/log.js';
import { encodeSctList } from './ct/sct.js';
import { AppError, toAppError } from './errors.js';
import { toPrincipal } from './identity/issuer-types.js';
import type { Issuers } from './identity/issuers.js';
import type { Principal } from './identity/principal.js';
import { parseToken, type VerifiedToken, verifyToken } from './identity/token.js';
import { type KeyPolicy, type KeyRequest, type ProvenKey, proveKey } from './proof.js';
import type { TokenStore } from './token-reuse.js';
import { corresponds } from './x509/precert.js';
import {
  encodeCertificate,
  encodeTbs,
  type LeafFields,
  newSerial,
  poisonExtension,
  sctListExtension,
} from './x509/tbs.js';

/** What a client asks for, whichever wire it came over. */
export interface IssueRequest {
  /** The compact JWS as it came; '' when none was given. */
  readonly token: string;
  readonly key: KeyRequest;
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
}

export type Stage = 'token' | 'proof' | 'sign' | 'log';

export interface IssueDeps {
  /** The identity configuration in force; one snapshot is taken per request. */
  readonly issuers: () => Issuers;
  /** The active CA; one snapshot is taken per request. */
  readonly ca: () => CertificateAuthority;
  readonly keyPolicy: KeyPolicy;
  /** Undefined only when the operator turned CT off. */
  readonly ctLog: CtLogs | undefined;
  /** Remembers used tokens; undefined lets a token be used until it expires, as Fulcio does. */
  readonly tokens: TokenStore | undefined;
  readonly lifetimeMs: number;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly random: (size: number) => Uint8Array;
  /** Called with what each finished step took, in seconds. */
  readonly observe: (stage: Stage, seconds: number) => void;
}

/**
 * The pipeline: token → issuer → verified claims → principal → proof of possession → precertificate → log → SCT →
 * certificate. Nothing leaves it without its SCTs unless CT is off.
 *
 * Throws AppError for everything a client or the operator can cause; aborting `signal` ends the wait for the log, not
 * a submission already made (RFC 6962 logs cannot forget).
 */
export async function issue(request: IssueRequest, deps: IssueDeps, signal: AbortSignal): Promise<Issued> {
  const ca = deps.ca();
  const timed = stopwatch(deps);
  const { token, principal } = await authenticate(request.token, deps);
  timed('token');
  const key = await provePossession(request.key, principal, deps.keyPolicy);
  timed('proof');
  const leaf = leafFields(principal, key, ca, deps);
  const release = await deps.tokens?.reserve(token);
  let pre: Uint8Array;
  try {
    pre = await signed(encodeTbs(leaf, deps.ctLog === undefined ? undefined : poisonExtension), ca);
  } catch (error) {
    // Nothing was submitted yet, so the token's one use is given back.
    await release?.();
    throw error;
  }
  timed('sign');
  const identity = { ca, serial: leaf.serial, principal, key };
  if (deps.ctLog === undefined) return { ...identity, certificate: pre, scts: undefined };
  const tbs = encodeTbs(leaf);
  const submission = { precertificate: pre, chain: ca.chain, tbs, issuerKeyHash: ca.issuerKeyHash };
  const scts = await deps.ctLog.submit(submission, signal);
  timed('log');
  const finalTbs = encodeTbs(leaf, sctListExtension(encodeSctList(scts)));
  // Compared before it is signed: a certificate that does not correspond must never exist.
  corresponds(pre, encodeCertificate(finalTbs, ca.signer.signatureAlgorithm, noSignature));
  const certificate = await signed(finalTbs, ca);
  timed('sign');
  return { ...identity, certificate, scts };
}

const noSignature = new Uint8Array(1);

async function authenticate(jwt: string, deps: IssueDeps): Promise<{ token: VerifiedToken; principal: Principal }> {
  const raw = parseToken(jwt);
  const issuer = deps.issuers().match(raw.issuer);
  const token = await verifyToken(raw, issuer, deps.clock);
  return { token, principal: toPrincipal(token, issuer) };
}

/** With a challenge-claim both texts count: Fulcio checks its type's own claim, clients sign the one it advertises. */
async function provePossession(request: KeyRequest, principal: Principal, policy: KeyPolicy): Promise<ProvenKey> {
  const { challenge, alternativeChallenge } = principal;
  try {
    return await proveKey(request, challenge.value, policy);
  } catch (error) {
    const wrongText = error instanceof AppError && error.code === 'PROOF_INVALID';
    if (!wrongText || alternativeChallenge === undefined) throw error;
    return proveKey(request, alternativeChallenge.value, policy);
  }
}

function leafFields(principal: Principal, key: ProvenKey, ca: CertificateAuthority, deps: IssueDeps): LeafFields {
  const now = Math.floor(deps.clock() / 1000) * 1000;
  const notAfter = new Date(now + deps.lifetimeMs);
  if (notAfter > ca.notAfter || now < ca.notBefore.getTime()) {
    throw new AppError(
      'CA_EXPIRING',
      `a certificate from now to ${notAfter.toISOString()} would not lie within the validity of the issuing CA, ` +
        `${ca.notBefore.toISOString()} to ${ca.notAfter.toISOString()}; the operator has to renew the CA`,
    );
  }
  return {
    serial: newSerial(deps.random),
    signatureAlgorithm: ca.signer.signatureAlgorithm,
    issuerName: ca.subjectName,
    authorityKeyId: ca.subjectKeyId,
    notBefore: new Date(now),
    notAfter,
    spki: key.spki,
    san: principal.san,
    extensions: principal.extensions,
  };
}

async function signed(tbs: Uint8Array, ca: CertificateAuthority): Promise<Uint8Array> {
  let signature: Uint8Array;
  try {
    signature = await ca.signer.sign(tbs);
  } catch (error) {
    const known = toAppError(error);
    if (known.code !== 'INTERNAL') throw known;
    throw new AppError('SIGNER_UNAVAILABLE', 'the key of the certificate authority cannot sign now', {
      cause: error,
      retryAfterSeconds: 5,
    });
  }
  return encodeCertificate(tbs, ca.signer.signatureAlgorithm, signature);
}

function stopwatch(deps: IssueDeps): (stage: Stage) => void {
  let last = performance.now();
  return (stage) => {
    const now = performance.now();
    deps.observe(stage, (now - last) / 1000);
    last = now;
  };
}
