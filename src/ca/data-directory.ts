import { createPrivateKey, type KeyObject, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AppError, messageOf } from '../errors.js';
import type { CertificateAuthority } from './authority.js';
import { loadChain } from './chain.js';
import { type Format, type KeySet, readFormat, type Upgrade, upgrades, writeFormat } from './data-format.js';
import { openFileSigner } from './file-signer.js';
import { createCaKeys, createLogKey, finishCaKeys, sweepStaged } from './first-start.js';
import { checkPrivateDirectory, isCode, readPrivateFile } from './private-file.js';

/**
 * A directory with the keys of one instance:
 *
 *     format               version of this layout and which keys belong here
 *     keys/ca/             key.pem (PKCS#8) and chain.pem of the issuing CA
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
   * The issuing CA in keys/ca; the first call ever makes it, with its root under offline/. Throws AppError STARTUP that
   * names the file in question.
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
  const directory = join(context.path, 'keys/ca');
  const keyPath = join(directory, 'key.pem');
  const chainPath = join(directory, 'chain.pem');
  const format = await readFormat(context.path, steps);
  if (!existsSync(directory)) {
    refuseLoss(format, 'ca', keyPath);
    const offline = join(context.path, 'offline');
    if (!(await isEmpty(offline))) {
      throw new AppError('STARTUP', `${offline} holds a root, but the issuing CA's key, ${keyPath}, is missing`);
    }
    const { organization, clock, random } = context;
    await createCaKeys(context.path, { organization, now: clock(), random });
  }
  const key = await readPrivateFile(keyPath);
  const signer = about(keyPath, () => openFileSigner(key));
  const chain = await readChain(chainPath, keyPath);
  const ca = about(chainPath, () => loadChain(chain, signer, context.clock()));
  if (!format?.holds.includes('ca')) await finishCaKeys(context.path, chain);
  await remember(context, format, 'ca');
  return ca;
}

async function readChain(path: string, keyPath: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const why = isCode(cause, 'ENOENT') ? `it is missing beside ${keyPath}` : messageOf(cause);
    throw new AppError('STARTUP', `cannot read the CA's certificate chain ${path}: ${why}`, { cause });
  }
}

/** Puts the file's name before what is wrong with it. */
function about<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause;
    throw new AppError(cause.code, `${path}: ${cause.detail}`, { cause });
  }
}

/** A key that was here once and is gone must come back from a backup: a new one would be another CA, or another log. */
function refuseLoss(format: Format | undefined, set: KeySet, path: string): void {
  if (!format?.holds.includes(set)) return;
  throw new AppError('STARTUP', `${path} is missing, though this data directory had it; restore it from backup`);
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
