import type { KeyObject } from 'node:crypto';
import { AppError, messageOf } from '../errors.js';
import { isSameKey } from './same-key.js';

/** What opening a key in a KMS depends on. */
export interface KmsDeps {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /**
   * The public key of the issuing certificate. Where the URI leaves the version open, the version with this key is
   * used, so that a rotation in the KMS never changes the key under a chain; without it, the newest version.
   */
  readonly expectedKey?: KeyObject | undefined;
  /** Longest time of one call, for SDKs that cannot be told to give it up. */
  readonly timeoutMs: number;
  /** Calls that will be made at the same time. */
  readonly maxConcurrent: number;
}

/** One version of a key, with what identifies it in messages and later calls. */
export interface KeyVersion {
  readonly version: string;
  readonly publicKey: KeyObject;
}

/** More versions than this are not looked through: each is a call. */
const maxVersions = 100;

/**
 * The first of `versions`, given newest first, that has the expected key; without an expected key, the first. Throws
 * when there is none.
 */
export async function chooseVersion(
  versions: AsyncIterable<KeyVersion> | Iterable<KeyVersion>,
  expectedKey: KeyObject | undefined,
): Promise<KeyVersion> {
  const seen: string[] = [];
  for await (const found of versions) {
    if (expectedKey === undefined || isSameKey(found.publicKey, expectedKey)) return found;
    seen.push(found.version);
    if (seen.length === maxVersions) break;
  }
  if (seen.length === 0) throw new Error('it has no enabled version');
  throw new Error(
    `none of its enabled versions (${seen.join(', ')}) has the public key of the first certificate in the chain`,
  );
}

/** Loads an SDK that is an optional dependency; throws AppError STARTUP saying how to install what is missing. */
export async function loadSdk<T>(scheme: string, packages: readonly string[], load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const names = packages.join(' ');
    const what = packages.length === 1 ? `the package ${names}` : `the packages ${packages.join(' and ')}`;
    throw new AppError(
      'STARTUP',
      `a key named ${scheme}://… needs ${what}, which cannot be loaded (${messageOf(cause)}): ` +
        `run "npm install ${names}" beside mayfly`,
      { cause },
    );
  }
}
