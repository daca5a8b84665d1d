import { AppError } from '../errors.js';
import type { TsaKeyChoice, TsaSettings } from '../tsa/open.js';
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

/** The flags that say where the key is; at most one of them. */
const keyFlags = ['tsa-key', 'tsa-kms-resource', 'tsa-hsm-key-label'] as const;
const onlyWithTsa = [...keyFlags, 'tsa-key-password', 'tsa-cert-chain', 'tsa-policy', 'tsa-clock-limit'] as const;
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
  return { ...tsaKey(read), policy, clockLimitMs: read.duration('tsa-clock-limit') };
}

function tsaKey(read: Reader): Pick<TsaSettings, 'key'> {
  const [flag, other] = keyFlags.filter((name) => read.isGiven(name));
  const chainPath = read.optional('tsa-cert-chain');
  if (flag === undefined && chainPath === undefined) return {};
  if (other !== undefined) {
    throw new AppError(
      'STARTUP',
      `${read.source(flag ?? other)} and ${read.source(other)} both say where the timestamp key is`,
    );
  }
  const value = flag === undefined ? undefined : read.optional(flag);
  if (flag === undefined || value === undefined || chainPath === undefined) {
    const named = flag ?? 'tsa-key';
    const missing = chainPath === undefined ? 'tsa-cert-chain' : named;
    throw new AppError('STARTUP', `--${named} and --tsa-cert-chain go together; --${missing} is missing`);
  }
  return { key: choices[flag](value, chainPath, read) };
}

type Choose = (value: string, chainPath: string, read: Reader) => TsaKeyChoice;

const choices: Readonly<Record<(typeof keyFlags)[number], Choose>> = {
  'tsa-key': (keyPath, chainPath, read) => {
    const password = read.optional('tsa-key-password');
    return { in: 'file', keyPath, chainPath, ...(password === undefined ? {} : { password }) };
  },
  'tsa-kms-resource': (resource, chainPath) => ({ in: 'kms', resource, chainPath }),
  'tsa-hsm-key-label': (keyLabel, chainPath, read) => ({
    in: 'hsm',
    keyLabel,
    configPath: read.text('pkcs11-config-path'),
    chainPath,
  }),
};
