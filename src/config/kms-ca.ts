import { AppError } from '../errors.js';
import type { FlagName } from './flags.js';

/** A key in a key management service, and the file with its chain. */
export interface KmsCaChoice {
  readonly kind: 'kms';
  /** Checked when it is opened: see parseKmsUri. */
  readonly resource: string;
  readonly chainPath: string;
  /** Longest time of one call, where the settings say so. */
  readonly timeoutMs?: number;
}

/** How settings are read; see serveConfig. */
interface Reader {
  text(name: FlagName): string;
  optional(name: FlagName): string | undefined;
  wrong(name: FlagName, expected: string): AppError;
}

/** The settings of --ca kmsca; throws AppError STARTUP naming the flag that is missing or wrong. */
export function kmsCa(read: Reader): KmsCaChoice {
  const resource = read.optional('kms-resource');
  const chainPath = read.optional('kms-cert-chain-path');
  if (resource === undefined) {
    throw new AppError(
      'STARTUP',
      '--ca kmsca needs --kms-resource, the key: awskms://, gcpkms://, azurekms:// or hashivault://',
    );
  }
  if (chainPath === undefined) {
    throw new AppError(
      'STARTUP',
      '--ca kmsca needs --kms-cert-chain-path, the PEM chain with the issuing certificate first and the root last',
    );
  }
  const timeoutMs = gcpTimeoutMs(read, resource);
  return { kind: 'kms', resource, chainPath, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
}

/** Fulcio's flag for one provider: whole seconds, 0 for its default. */
function gcpTimeoutMs(read: Reader, resource: string): number | undefined {
  const text = read.optional('gcp-kms-timeout');
  if (text === undefined) return undefined;
  if (!/^\d{1,4}$/.test(text)) throw read.wrong('gcp-kms-timeout', 'whole seconds from 0 (the default) to 9999');
  return Number(text) === 0 || !resource.startsWith('gcpkms://') ? undefined : Number(text) * 1000;
}
