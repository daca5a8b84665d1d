import { AppError } from '../errors.js';
import type { TsaSettings } from '../tsa/open.js';
import type { FlagName } from './flags.js';

/** How settings are read; see serveConfig. */
interface Reader {
  text(name: FlagName): string;
  optional(name: FlagName): string | undefined;
  boolean(name: FlagName): boolean;
  duration(name: FlagName): number;
  isGiven(name: FlagName): boolean;
  source(name: FlagName): string;
  wrong(name: FlagName, expected: string): AppError;
}

const onlyWithTsa = ['tsa-key', 'tsa-key-password', 'tsa-cert-chain', 'tsa-policy', 'tsa-clock-limit'] as const;
const dottedOid = /^[0-2](\.(0|[1-9]\d{0,9})){1,20}$/;

/** The settings of --tsa and its companions; undefined without --tsa. Throws AppError STARTUP naming the flag. */
export function tsaSettings(read: Reader): TsaSettings | undefined {
  if (!read.boolean('tsa')) {
    const stray = onlyWithTsa.find((name) => read.isGiven(name));
    if (stray === undefined) return undefined;
    throw new AppError('STARTUP', `${read.source(stray)} is given, but there is no timestamp authority without --tsa`);
  }
  const policy = read.text('tsa-policy');
  if (!dottedOid.test(policy)) throw read.wrong('tsa-policy', 'an object identifier such as 1.3.6.1.4.1.57264.2');
  return { ...tsaFiles(read), policy, clockLimitMs: read.duration('tsa-clock-limit') };
}

function tsaFiles(read: Reader): Pick<TsaSettings, 'files'> {
  const keyPath = read.optional('tsa-key');
  const chainPath = read.optional('tsa-cert-chain');
  const password = read.optional('tsa-key-password');
  if (keyPath === undefined && chainPath === undefined) return {};
  if (keyPath === undefined || chainPath === undefined) {
    const missing = keyPath === undefined ? '--tsa-key' : '--tsa-cert-chain';
    throw new AppError('STARTUP', `--tsa-key and --tsa-cert-chain go together; ${missing} is missing`);
  }
  return { files: { keyPath, chainPath, ...(password === undefined ? {} : { password }) } };
}
