import type { ServeConfig } from '../config/serve.js';
import { checkFipsCertificate, type FipsProbe, fipsClientAlgorithms, requireFips } from '../fips.js';
import type { CaView } from './ca-view.js';
import type { Timestamps } from './open-tsa.js';

/**
 * The settings of a server under --fips: approved client keys only. Unchanged without it. Throws AppError STARTUP unless
 * OpenSSL is in FIPS mode.
 */
export function underFips(config: ServeConfig, probe: FipsProbe): ServeConfig {
  if (!config.fips) return config;
  requireFips(probe);
  return { ...config, clientSigningAlgorithms: fipsClientAlgorithms(config.clientSigningAlgorithms) };
}

/** Throws AppError STARTUP when the active CA signs with a key that --fips does without; for every CA that comes. */
export function checkFipsCa({ fips }: ServeConfig, { active }: Pick<CaView, 'active'>): void {
  if (fips) checkFipsCertificate('the key of the CA', active.chain[0]);
}

/** The same for the timestamp authority in use. */
export function checkFipsTsa({ fips, tsa }: ServeConfig, { trusted }: Pick<Timestamps, 'trusted'>): void {
  if (fips && tsa !== undefined) checkFipsCertificate('the key of the timestamp authority', trusted[0]?.chain[0]);
}
