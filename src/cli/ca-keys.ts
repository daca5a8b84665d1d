import { type NewKeyKind, newKeyKindOf, newKeyKinds } from '../ca/ceremony-key.js';
import { openFileSigner } from '../ca/file-signer.js';
import { openKmsSigner } from '../ca/kms.js';
import { openPkcs11Signer } from '../ca/pkcs11.js';
import { readPrivateFile } from '../ca/private-file.js';
import type { Signer } from '../ca/signer.js';
import { AppError } from '../errors.js';
import { knownPassphrase, type PassphrasePlace } from './ca-passphrase.js';
import type { CaIo } from './ca-terminal.js';

/** The flags that say where a key is that exists already; their names are the server's where it has them. */
export interface KeyFlags {
  readonly key?: string | undefined;
  readonly kmsResource?: string | undefined;
  readonly pkcs11ConfigPath?: string | undefined;
  readonly hsmKeyLabel?: string | undefined;
  /** What stands before the flags' names, for messages: "root-" of --root-kms-resource. */
  readonly prefix?: string | undefined;
}

/** Whether the key lives in a KMS or an HSM. */
export function isRemote({ kmsResource, hsmKeyLabel }: KeyFlags): boolean {
  return kmsResource !== undefined || hsmKeyLabel !== undefined;
}

/**
 * Opens the key that the flags name; undefined when they name none. The signer of a key elsewhere has signed once as a
 * test; close it. Throws AppError STARTUP naming the flag.
 */
export async function openKey(flags: KeyFlags, place: PassphrasePlace, io: CaIo): Promise<Signer | undefined> {
  const { key, kmsResource, pkcs11ConfigPath, hsmKeyLabel, prefix = '' } = flags;
  if ([key, kmsResource, hsmKeyLabel].filter((flag) => flag !== undefined).length > 1) {
    throw new AppError(
      'STARTUP',
      `${place.what} is named twice: as a file, in a KMS or in an HSM; expected one of them`,
    );
  }
  if (kmsResource !== undefined)
    return openKmsSigner(kmsResource, { environment: io.env, setting: `--${prefix}kms-resource` });
  if (hsmKeyLabel !== undefined) {
    if (pkcs11ConfigPath === undefined) throw new AppError('STARTUP', 'a key in an HSM needs --pkcs11-config-path');
    const deps = { clock: () => io.now().getTime(), random: Math.random, onChange: () => undefined };
    return openPkcs11Signer({ configPath: pkcs11ConfigPath, keyLabel: hsmKeyLabel }, deps);
  }
  return key === undefined ? undefined : openKeyFile(key, place, io);
}

/** Opens a PEM key file, asking for its passphrase if it has one. Throws AppError STARTUP naming the file. */
export async function openKeyFile(path: string, place: PassphrasePlace, io: CaIo): Promise<Signer> {
  const pem = await readPrivateFile(path);
  const passphrase = pem.includes('ENCRYPTED') ? await knownPassphrase(place, io) : undefined;
  try {
    return openFileSigner(pem, passphrase);
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause;
    throw new AppError('STARTUP', `${path}: ${cause.detail}`, { cause });
  }
}

/** The kinds of key with which a timestamp authority signs: verifiers of CMS that take Ed25519 are few. */
export const timestampKeyKinds = newKeyKinds.filter((kind) => kind !== 'Ed25519');

/** A kind of key by its name on a command line, one of `kinds`; throws AppError STARTUP naming the flag. */
export function keyKindFlag(flag: string, text: string, kinds: readonly NewKeyKind[] = newKeyKinds): NewKeyKind {
  const kind = newKeyKindOf(text);
  if (kind !== undefined && kinds.includes(kind)) return kind;
  throw new AppError('STARTUP', `${flag} is "${text}"; expected ${kinds.join(', ')}`);
}

const daysIn: Readonly<Record<string, number>> = { d: 1, w: 7, y: 365 };
const maxDays = 100 * 365;

/** A lifetime such as 90d, 52w or 10y (of 365 days) in days; throws AppError STARTUP naming the flag. */
export function lifetimeFlag(flag: string, text: string): number {
  const [, amount, unit] = /^(\d{1,6})([dwy])$/.exec(text) ?? [];
  const days = Number(amount) * (daysIn[unit ?? ''] ?? Number.NaN);
  if (days >= 1 && days <= maxDays) return days;
  throw new AppError(
    'STARTUP',
    `${flag} is "${text}"; expected days, weeks or years such as 90d, 52w or 10y, up to 100y`,
  );
}

/** A name for a certificate (RFC 5280 allows 64 characters); throws AppError STARTUP naming the flag. */
export function nameFlag(flag: string, text: string): string {
  const length = [...text].length;
  // Control characters and lone surrogates would make certificates that tools show in different ways.
  if (length >= 1 && length <= 64 && !/[\p{Cc}\p{Cs}]/u.test(text) && text.trim() === text) return text;
  throw new AppError(
    'STARTUP',
    `${flag} has ${length} characters; expected 1 to 64, without control characters and spaces at the ends`,
  );
}
