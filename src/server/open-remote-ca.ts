import type { Logger } from 'pino';
import type { CertificateAuthority } from '../ca/authority.js';
import { openPkcs11Ca, openPkcs11Signer } from '../ca/pkcs11.js';
import type { RecoveryChange } from '../ca/recovery.js';
import type { Pkcs11CaChoice } from '../config/pkcs11-ca.js';
import { loadChainFile } from './flag-files.js';

export interface RemoteCaDeps {
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

/** Opens a CA whose key is in a PKCS#11 token; throws AppError STARTUP naming the flag that is wrong. */
export async function openPkcs11(
  choice: Pkcs11CaChoice,
  { logger, clock }: RemoteCaDeps,
): Promise<CertificateAuthority> {
  const { certificate } = choice;
  const deps = { clock, random: Math.random, onChange: logChange(logger) };
  if (certificate.in === 'token') return openPkcs11Ca({ ...choice, certificateId: certificate.id }, deps);
  const signer = await openPkcs11Signer(choice, deps);
  try {
    return loadChainFile(certificate, signer, clock);
  } catch (error) {
    await signer.close();
    throw error;
  }
}

/** One line for each turn in the life of a key that is elsewhere. */
export function logChange(
  logger: RemoteCaDeps['logger'],
  key = 'the key of the certificate authority',
): (change: RecoveryChange) => void {
  return (change) => {
    if (change.to === 'up') logger.info(`${key} can sign again`);
    else if (change.to === 'down') {
      logger.error({ reason: change.reason }, `${key} cannot sign; it is tried again`);
    } else {
      logger.warn({ reason: change.reason }, 'a signature failed; finding out whether the key can sign');
    }
  };
}
