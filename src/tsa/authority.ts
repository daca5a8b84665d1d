import type { Signer } from '../ca/signer.js';
import { AppError } from '../errors.js';
import { parseCertificate } from '../x509/certificate.js';
import { encodePem } from '../x509/pem.js';
import { newSerial } from '../x509/tbs.js';
import type { TsaChain } from './chain.js';
import type { GuardedClock } from './clock.js';
import type { TimestampRequest } from './imprint.js';
import { grantedReply } from './reply.js';
import { type TokenMaker, tokenMaker } from './token.js';

/** An RFC 3161 timestamp authority that can be asked. */
export interface TimestampAuthority {
  /** PEM, its own certificate first, root last. */
  readonly chainPem: string;
  readonly chain: TsaChain;
  /**
   * A DER TimeStampResp with a token. Throws AppError TSA_POLICY_UNACCEPTED, TSA_TIME_UNAVAILABLE or
   * TSA_SIGNER_UNAVAILABLE.
   */
  timestamp(request: TimestampRequest): Promise<Uint8Array>;
  /** Why it gives no timestamps now; undefined while it does. */
  trouble(): string | undefined;
}

export interface TimestampAuthorityOptions {
  readonly signer: Signer;
  readonly chain: TsaChain;
  /** Dotted OID of the policy its tokens are made under. */
  readonly policy: string;
  readonly clock: GuardedClock;
  /** The clock behind it, in milliseconds since the epoch. */
  readonly wallClock: () => number;
  /** Unpredictable bytes for serial numbers. */
  readonly random: (size: number) => Uint8Array;
}

/** Times are given in whole seconds, cut off, so that the truth is at most this far away. */
const accuracySeconds = 1;

/** Puts signer, chain and clock together; throws AppError STARTUP for a kind of key that clients would not verify. */
export function createAuthority(options: TimestampAuthorityOptions): TimestampAuthority {
  const { signer, chain, policy, clock, wallClock, random } = options;
  const makeToken = ownTokenMaker(options);
  const validity = (now: number): string | undefined => {
    if (now >= chain.notBefore.getTime() && now <= chain.notAfter.getTime()) return undefined;
    const from = chain.notBefore.toISOString();
    return `the timestamp authority's certificates are valid from ${from} to ${chain.notAfter.toISOString()} only`;
  };
  return {
    chain,
    chainPem: chain.certificates.map((der) => encodePem('CERTIFICATE', der)).join(''),
    async timestamp(request) {
      if (request.policy !== undefined && request.policy !== policy) {
        const found = request.policy.slice(0, 100);
        throw new AppError('TSA_POLICY_UNACCEPTED', `the requested policy is ${found}; the one here is ${policy}`);
      }
      const now = clock.now();
      const invalid = validity(now);
      if (invalid !== undefined) throw new AppError('TSA_SIGNER_UNAVAILABLE', invalid);
      const time = new Date(Math.floor(now / 1000) * 1000);
      const fields = { policy, serial: newSerial(random), time, accuracySeconds };
      return grantedReply(await makeToken(request, fields));
    },
    trouble: () => clock.trouble() ?? validity(wallClock()) ?? keyTrouble(signer),
  };
}

function ownTokenMaker({ signer, chain }: TimestampAuthorityOptions): TokenMaker {
  const [certificate] = chain.certificates;
  if (certificate === undefined) throw new AppError('STARTUP', 'the timestamp authority has no certificate');
  return tokenMaker({ signer: renamingFailures(signer), certificate, included: withoutRoot(chain.certificates) });
}

/** Verifiers have the root already, and must not take it from here. */
function withoutRoot(chain: readonly Uint8Array[]): readonly Uint8Array[] {
  return chain.filter((der, index) => {
    const { subject, issuer } = parseCertificate(der);
    return index === 0 || Buffer.compare(subject, issuer) !== 0;
  });
}

/** What a key that is elsewhere says of itself. */
function keyTrouble({ trouble }: Signer): string | undefined {
  const reason = trouble?.();
  return reason === undefined ? undefined : `the timestamp authority's key cannot sign: ${reason}`;
}

/** The signers of this house speak of the CA's key. */
function renamingFailures(signer: Signer): Signer {
  return {
    ...signer,
    async sign(data) {
      try {
        return await signer.sign(data);
      } catch (cause) {
        const retry = cause instanceof AppError ? cause.retryAfterSeconds : undefined;
        const options = retry === undefined ? { cause } : { cause, retryAfterSeconds: retry };
        throw new AppError('TSA_SIGNER_UNAVAILABLE', "the timestamp authority's key cannot sign now", options);
      }
    },
  };
}
