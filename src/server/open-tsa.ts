import { randomBytes } from 'node:crypto';
import type { Router } from 'express';
import { openKmsSigner } from '../ca/kms.js';
import { openPkcs11Signer } from '../ca/pkcs11.js';
import type { ServeConfig } from '../config/serve.js';
import { operatorOf, type TrustedAuthority } from '../trust/material.js';
import { recordTsa, type TsaPeriod } from '../tsa/history.js';
import { type OpenRemoteKey, type OpenTsaDeps, openTsa } from '../tsa/open.js';
import { timestampPath, tsaRoutes } from '../tsa/routes.js';
import { parseCertificate } from '../x509/certificate.js';
import { logChange } from './open-remote-ca.js';

/** The timestamp authority of an instance, and those it had before. */
export interface Timestamps {
  /** Undefined without --tsa. */
  readonly routes: Router | undefined;
  /** Whose timestamps clients are to believe; the one in use, without an end, first. */
  readonly trusted: readonly TrustedAuthority[];
  /** Why there are no timestamps now; undefined while there are, and without --tsa. */
  readonly trouble: () => string | undefined;
  close(): Promise<void>;
}

interface Deps extends Pick<OpenTsaDeps, 'logger' | 'metrics' | 'clock' | 'lowest'> {
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** Opens the authority of --tsa, if it is on; throws AppError STARTUP naming the flag or file that is wrong. */
export async function openTimestamps(config: ServeConfig, publicUrl: string, deps: Deps): Promise<Timestamps> {
  const { dataDir, tsa } = config;
  const openRemoteKey = remoteKeys(deps);
  const opened =
    tsa === undefined
      ? undefined
      : await openTsa(tsa, { ...deps, dataDir, monotonic, random: randomBytes, openRemoteKey });
  const periods = await recordTsa(dataDir, opened?.authority.chain.certificates, new Date(deps.clock()));
  return {
    routes: opened === undefined ? undefined : tsaRoutes({ ...opened, logger: deps.logger }),
    trusted: trustedTsas(periods, publicUrl),
    trouble: () => opened?.authority.trouble(),
    close: async () => opened?.close(),
  };
}

/** Keys that are elsewhere recover by themselves; each turn of theirs is a line in the log. */
function remoteKeys({ logger, clock, environment }: Deps): OpenRemoteKey {
  const onChange = logChange(logger, 'the key of the timestamp authority');
  return (choice) =>
    choice.in === 'kms'
      ? openKmsSigner(choice.resource, { environment, clock, onChange, setting: '--tsa-kms-resource' })
      : openPkcs11Signer(choice, { clock, random: Math.random, onChange });
}

/** The authorities of a record, as clients come to trust them. */
export function trustedTsas(periods: readonly TsaPeriod[], publicUrl: string): readonly TrustedAuthority[] {
  return periods.map(({ chain, end }) => ({
    chain,
    uri: `${publicUrl}${timestampPath}`,
    validFor: { start: startOf(chain), ...(end === undefined ? {} : { end }) },
    operator: operatorOf(publicUrl),
  }));
}

/** Milliseconds of CLOCK_MONOTONIC, which no administrator and no NTP daemon can set. */
function monotonic(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

function startOf(chain: readonly Uint8Array[]): Date {
  return new Date(Math.max(...chain.map((der) => parseCertificate(der).notBefore.getTime())));
}
