import { type KeyObject, X509Certificate } from 'node:crypto';
import type { CertificateAuthority } from '../ca/authority.js';
import { openKmsSigner } from '../ca/kms.js';
import type { KmsCaChoice } from '../config/kms-ca.js';
import { loadChainFile, readFlagFile } from './flag-files.js';
import { logChange, type RemoteCaDeps } from './open-remote-ca.js';

const chainFlag = '--kms-cert-chain-path';

export interface KmsCaDeps extends RemoteCaDeps {
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** Opens a CA whose key is in a KMS; throws AppError STARTUP naming the flag that is wrong. */
export async function openKmsCa(choice: KmsCaChoice, deps: KmsCaDeps): Promise<CertificateAuthority> {
  const { clock, environment, logger } = deps;
  const expectedKey = firstKey(readFlagFile(chainFlag, choice.chainPath));
  const signer = await openKmsSigner(choice.resource, {
    environment,
    clock,
    onChange: logChange(logger),
    onOpen: (key) => logger.info({ key }, 'the key of the certificate authority is in a KMS'),
    ...(expectedKey === undefined ? {} : { expectedKey }),
    ...(choice.timeoutMs === undefined ? {} : { timeoutMs: choice.timeoutMs }),
  });
  try {
    return loadChainFile({ flag: chainFlag, path: choice.chainPath }, signer, clock);
  } catch (error) {
    await signer.close();
    throw error;
  }
}

/** The key of the first certificate; undefined where there is none to be read, which the chain's checks explain. */
function firstKey(chain: string): KeyObject | undefined {
  try {
    return new X509Certificate(chain).publicKey;
  } catch {
    return undefined;
  }
}
