import type { CertificateAuthority } from '../ca/authority.js';
import type { Sct, SignSct } from '../ct/log.js';
import { encodeSctList } from '../ct/sct.js';
import type { Completed, CompletionOrder } from './steps.js';
import type { CertificateWork } from './work.js';

export interface SignedCertificate {
  /** DER. */
  readonly certificate: Uint8Array;
  /** What its signature took, with an early one that of the SCT too, and how long ago that was over. */
  readonly seconds: number;
  readonly agoSeconds: number;
}

/** How a precertificate becomes a certificate. */
export interface Completion {
  /** For CtLogs.submit; undefined where the CA's key is elsewhere, which is to sign nothing that may come to nothing. */
  readonly signSct: SignSct | undefined;
  /** The certificate with these SCTs; throws as `certify` does. */
  certificate(scts: readonly Sct[]): Promise<SignedCertificate>;
}

/**
 * Signs the certificate together with the SCT of the one log that lets us, while that log still writes its entry; with other
 * SCTs than that one, afterwards. The early certificate is kept here until the log has kept its promise.
 */
export function openCompletion(
  work: CertificateWork,
  { parts, precertificate }: Pick<CompletionOrder, 'parts' | 'precertificate'>,
  ca: CertificateAuthority,
): Completion {
  let early: Completed | undefined;
  let earlyAt = 0;
  const signSct: SignSct = async (sct, logKey) => {
    early = await work.complete({ parts, precertificate, sct }, ca, logKey);
    earlyAt = performance.now();
    return early.signature;
  };
  return {
    signSct: ca.signer.privateKey === undefined ? undefined : signSct,
    async certificate(scts) {
      const [only] = scts;
      if (early !== undefined && scts.length === 1 && only?.signature === early.signature) {
        const { certificate, seconds } = early;
        return { certificate, seconds, agoSeconds: (performance.now() - earlyAt) / 1000 };
      }
      const started = performance.now();
      const certificate = await work.certify({ parts, precertificate, sctList: encodeSctList(scts) }, ca);
      return { certificate, seconds: (performance.now() - started) / 1000, agoSeconds: 0 };
    },
  };
}
