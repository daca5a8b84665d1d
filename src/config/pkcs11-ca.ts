import { AppError } from '../errors.js';
import type { FlagName } from './flags.js';

/** A key in a PKCS#11 token; its certificate is in the token too, by its CKA_ID, or the chain is in a file. */
export interface Pkcs11CaChoice {
  readonly kind: 'pkcs11';
  readonly configPath: string;
  readonly keyLabel: string;
  readonly certificate:
    | { readonly in: 'token'; readonly id: string }
    | { readonly in: 'file'; readonly flag: string; readonly path: string };
}

/** How settings are read; see serveConfig. */
interface Reader {
  text(name: FlagName): string;
  optional(name: FlagName): string | undefined;
}

const chainFlags = ['hsm-cert-chain-path', 'aws-hsm-root-ca-path'] as const;

/** The settings of --ca pkcs11ca; throws AppError STARTUP naming the flag that is missing or one too many. */
export function pkcs11Ca(read: Reader): Pkcs11CaChoice {
  const files = chainFlags.flatMap((name) => {
    const path = read.optional(name);
    return path === undefined ? [] : [{ in: 'file' as const, flag: `--${name}`, path }];
  });
  const [file, other] = files;
  if (file !== undefined && other !== undefined) {
    throw new AppError('STARTUP', `${file.flag} and ${other.flag} both name the chain; expected one of them`);
  }
  const id = read.optional('hsm-caroot-id');
  const certificate = file ?? (id === undefined ? undefined : { in: 'token' as const, id });
  if (certificate === undefined) {
    throw new AppError(
      'STARTUP',
      '--ca pkcs11ca needs --hsm-caroot-id, the CKA_ID of the CA certificate in the token, or --hsm-cert-chain-path',
    );
  }
  const keyLabel = read.text('hsm-key-label');
  return { kind: 'pkcs11', configPath: read.text('pkcs11-config-path'), keyLabel, certificate };
}
