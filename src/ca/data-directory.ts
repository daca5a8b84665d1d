import { createPrivateKey, type KeyObject, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AppError, messageOf } from '../errors.js';
import type { CertificateAuthority } from './authority.js';
import { type Format, type KeySet, readFormat, type Upgrade, upgrades, writeFormat } from './data-format.js';
import { createCaKeys, createLogKey, finishCaKeys, sweepStaged } from './first-start.js';
import { type Authorities, activeOf, type CaRecord } from './life-cycle.js';
import { authoritiesFile, readAuthorities } from './life-cycle-file.js';
import { firstKeys, recordFirstCa } from './life-cycle-first.js';
import { openKeyedCa } from './life-cycle-keys.js';
import { checkPrivateDirectory, isCode, readPrivateFile } from './private-file.js';

/**
 * A directory with the keys of one instance:
 *
 *     format               version of this layout and which keys belong here
 *     authorities.json     every CA this instance ever had: certificates, states, times (see life-cycle.ts)
 *     keys/ca/             key.pem (PKCS#8) and chain.pem of the first issuing CA
 *     keys/ca-NAME/        the same of each later one
 *     keys/ctlog/          key.pem of the embedded log
 *     offline/             root key, encrypted, and its passphrase: written once, never read again
 *     ctlog/, trust/       the log and the files for clients; made by their own rooms
 *
 * keys/ and offline/ are 0700, key files 0600.
 */
export interface DataDirectory {
  /** Absolute. */
  readonly path: string;
  /** Private key of the embedded log, P-256. */
  readonly logKey: KeyObject;
  /**
   * The active issuing CA, which has signed once as a test; the first call ever makes it, with its root under offline/.
   * Throws AppError STARTUP that names the file in question.
   */
  openCa(): Promise<CertificateAuthority>;
}

export interface DataDirectoryOptions {
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** The O of the CA certificates that a first start makes. */
  readonly organization?: string;
  /** Unpredictable bytes for names and passphrase. */
  readonly random?: (size: number) => Uint8Array;
  /** How to bring older directories up to date. */
  readonly upgrades?: readonly Upgrade[];
}

interface Context {
  readonly path: string;
  readonly clock: () => number;
  readonly organization: string;
  readonly random: (size: number) => Uint8Array;
  readonly version: number;
}

/**
 * Opens a data directory, which the first start makes. Keys that once existed are never made anew: a missing one is
 * reported. Throws AppError STARTUP naming the file or directory that is in the way.
 */
export async function openDataDirectory(directory: string, options: DataDirectoryOptions): Promise<DataDirectory> {
  const steps = options.upgrades ?? upgrades;
  const context: Context = {
    path: resolve(directory),
    clock: options.clock,
    organization: options.organization ?? 'mayfly',
    random: options.random ?? randomBytes,
    version: steps.length + 1,
  };
  const keys = join(context.path, 'keys');
  return guarded(context, async () => {
    const format = await readFormat(context.path, steps);
    if (!existsSync(keys)) {
      for (const set of format?.holds ?? []) refuseLoss(format, set, join(keys, set, 'key.pem'));
      await mkdir(keys, { recursive: true, mode: 0o700 });
    }
    await checkPrivateDirectory(keys);
    const logKey = await openLogKey(context, format);
    return { path: context.path, logKey, openCa: () => guarded(context, () => openCa(context, steps)) };
  });
}

/** Whether the root key of the CA still lies beside the server, where it has no business. */
export function offlineRootPresent(directory: string): boolean {
  return existsSync(join(directory, 'offline', 'root.key.pem'));
}

/** Gives errors of the file system the name of the data directory. */
async function guarded<T>({ path }: Context, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (typeof cause !== 'object' || cause === null || !('syscall' in cause)) throw cause;
    const hint = isCode(cause, 'EACCES', 'EPERM', 'EROFS') ? '; it has to be writable at the first start' : '';
    throw new AppError('STARTUP', `the data directory ${path} cannot be used: ${messageOf(cause)}${hint}`, { cause });
  }
}

async function openLogKey(context: Context, format: Format | undefined): Promise<KeyObject> {
  const path = join(context.path, 'keys/ctlog/key.pem');
  if (!existsSync(join(context.path, 'keys/ctlog'))) {
    refuseLoss(format, 'ctlog', path);
    const log = join(context.path, 'ctlog');
    if (!(await isEmpty(log))) {
      throw new AppError('STARTUP', `${log} holds a log, but the key it is signed with, ${path}, is missing`);
    }
    await createLogKey(context.path, context.random);
  }
  const key = parseKey(await readPrivateFile(path), path);
  await remember(context, format, 'ctlog');
  return key;
}

function parseKey(pem: string, path: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key;
  } catch (cause) {
    throw new AppError('STARTUP', `the log key ${path} cannot be read: ${messageOf(cause)}`, { cause });
  }
  throw new AppError('STARTUP', `the log key ${path} is of another kind; expected EC P-256`);
}

async function openCa(context: Context, steps: readonly Upgrade[]): Promise<CertificateAuthority> {
  const { path, clock } = context;
  const active = activeOf(await ensureCa(context, steps));
  if (active?.keyDirectory === undefined) throw elsewhere(context, active);
  const keyPath = join(path, active.keyDirectory, 'key.pem');
  if (!existsSync(join(path, active.keyDirectory))) throw lost(keyPath);
  return openKeyedCa(path, active.keyDirectory, clock());
}

/** The record of CAs, of which one is active; the first start makes that one. */
async function ensureCa(context: Context, steps: readonly Upgrade[]): Promise<Authorities> {
  const { path } = context;
  const format = await readFormat(path, steps);
  const recorded = await readAuthorities(path);
  if (recorded === undefined && format?.holds.includes('ca')) throw lost(join(path, authoritiesFile));
  const authorities = recorded?.cas.some(hasPlace) ? recorded : await makeFirstCa(context);
  const first = authorities.cas.find(({ keyDirectory }) => keyDirectory === firstKeys);
  if (first !== undefined && !format?.holds.includes('ca')) await finishCaKeys(path, first.chain);
  await remember(context, format, 'ca');
  return authorities;
}

/** Whether it settles which CA serves here: one of another place, or of this directory. */
function hasPlace({ state, keyDirectory }: CaRecord): boolean {
  return state === 'active' || keyDirectory !== undefined;
}

async function makeFirstCa(context: Context): Promise<Authorities> {
  await ensureFirstKeys(context);
  return recordFirstCa(context.path);
}

async function ensureFirstKeys({ path, organization, clock, random }: Context): Promise<void> {
  if (existsSync(join(path, firstKeys))) return;
  const offline = join(path, 'offline');
  if (!(await isEmpty(offline))) {
    const keyPath = join(path, firstKeys, 'key.pem');
    throw new AppError('STARTUP', `${offline} holds a root, but the issuing CA's key, ${keyPath}, is missing`);
  }
  await createCaKeys(path, { organization, now: clock(), random });
}

function elsewhere({ path }: Context, active: CaRecord | undefined): AppError {
  const who = active === undefined ? 'no CA is active' : `the key of the active CA, ${active.name}, is not in it`;
  return new AppError(
    'STARTUP',
    `the data directory ${path} cannot be served: ${who}. Start with the --ca flags that name that key, or make a CA of ` +
      'this directory active with "mayfly ca promote" (see "mayfly ca list")',
  );
}

/** A key that was here once and is gone must come back from a backup: a new one would be another CA, or another log. */
function refuseLoss(format: Format | undefined, set: KeySet, path: string): void {
  if (format?.holds.includes(set)) throw lost(path);
}

function lost(path: string): AppError {
  return new AppError('STARTUP', `${path} is missing, though this data directory had it; restore it from backup`);
}

async function remember(context: Context, format: Format | undefined, set: KeySet): Promise<void> {
  if (format?.holds.includes(set)) return;
  await writeFormat(context.path, { format: context.version, holds: [...(format?.holds ?? []), set] });
  await sweepStaged(context.path, set);
}

async function isEmpty(directory: string): Promise<boolean> {
  try {
    return (await readdir(directory)).length === 0;
  } catch (cause) {
    if (isCode(cause, 'ENOENT')) return true;
    throw cause;
  }
}
