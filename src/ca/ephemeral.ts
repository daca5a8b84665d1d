import { randomBytes } from 'node:crypto';
import { encodePem } from '../x509/pem.js';
import type { CertificateAuthority } from './authority.js';
import { loadChain } from './chain.js';
import { createRoot, rootLifetimeDays } from './create.js';
import { createKeySigner } from './file-signer.js';

/**
 * A CA for tries and tests that lives in memory only: a P-256 root that issues leaves itself, as Fulcio's ephemeralca
 * does. Everything it signed is worthless once the process ends. `clock` gives milliseconds since the epoch.
 */
export async function createEphemeralCa(clock: () => number): Promise<CertificateAuthority> {
  const root = await createRoot({
    organization: 'mayfly',
    commonName: 'mayfly ephemeral CA',
    curve: 'P-256',
    now: clock(),
    lifetimeDays: rootLifetimeDays,
    random: randomBytes,
  });
  return loadChain(encodePem('CERTIFICATE', root.certificate), createKeySigner(root.privateKey), clock());
}
