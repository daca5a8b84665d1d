import type { CertificateAuthority } from '../ca/authority.js';
import type { Sct, SignSct } from '../ct/log.js';
import { encodeSctList } from '../ct/sct.js';
import type { Completed, CompletionOrder } from './steps.js';
import type { CertificateWork } from './work.js';

/** How a precertificate becomes a certificate. */
export interface Completion {
  /** For CtLogs.submit; undefined where the CA's key is elsewhere, which is to sign nothing that may come to nothing. */
  readonly signSct: SignSct | undefined;
  /** The certificate with these SCTs, DER, and how many seconds it took to sign; throws as `certify` does. */
  certificate(scts: readonly Sct[]): Promise<Pick<Completed, 'certificate' | 'seconds'>>;
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
  const signSct: SignSct = async (sct, logKey) => {
    early = await work.complete({ parts, precertificate, sct }, ca, logKey);
    return early.signature;
  };
  return {
    signSct: ca.signer.privateKey === undefined ? undefined : signSct,
    async certificate(scts) {
      const [only] = scts;
      if (early !== undefined && scts.length === 1 && only?.signature === early.signature) return early;
      const started = performance.now();
      const certificate = await work.certify({ parts, precertificate, sctList: encodeSctList(scts) }, ca);
      return { certificate, seconds: (performance.now() - started) / 1000 };
    },
  };
}
