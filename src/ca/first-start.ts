import { generateKeyPair, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { encodePem } from '../x509/pem.js';
import { createChain } from './create.js';
import type { KeySet } from './data-format.js';
import { isCode, syncDirectory, writeNewDirectory } from './private-file.js';

/**
 * Making the keys of a data directory so that a crash at any instant leaves either none or all of them: everything is
 * written and flushed under a staged name, and the rename of keys/ca (or keys/ctlog) is the one step that counts. Of two
 * processes that start at once one wins that rename; the other finds the winner's keys.
 */

const generate = promisify(generateKeyPair);

/** The name under which a key set is written before it gets its own. */
export const staged = (name: string, id: string): string => `${name}.new-${id}`;

type Random = (size: number) => Uint8Array;
const newId = (random: Random): string => Buffer.from(random(8)).toString('hex');

function toPem(key: KeyObject): string {
  return String(key.export({ type: 'pkcs8', format: 'pem' }));
}

/** Makes keys/ctlog/key.pem, unless another process was faster. */
export async function createLogKey(directory: string, random: Random): Promise<void> {
  const { privateKey } = await generate('ec', { namedCurve: 'P-256' });
  const from = join(directory, 'keys', staged('ctlog', newId(random)));
  await writeNewDirectory(from, [['key.pem', toPem(privateKey)]]);
  await moveInto(from, join(directory, 'keys/ctlog'));
  await syncDirectory(join(directory, 'keys'));
}

export interface CaKeysOptions {
  readonly organization: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly random: Random;
}

/**
 * Makes root and issuing CA and puts key and chain of the latter into keys/ca, unless another process was faster. The
 * root stays staged until `finishCaKeys`.
 */
export async function createCaKeys(directory: string, { organization, now, random }: CaKeysOptions): Promise<void> {
  const { root, intermediate } = await createChain(organization, now, random);
  const id = newId(random);
  const rootPem = encodePem('CERTIFICATE', root.certificate);
  const passphrase = Buffer.from(random(32)).toString('base64url');
  const encrypted = root.privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
  const offline = join(directory, staged('offline', id));
  await writeNewDirectory(offline, [
    ['root.key.pem', String(encrypted)],
    ['root.passphrase', `${passphrase}\n`],
    ['root.pem', rootPem],
    ['README.txt', offlineReadme],
  ]);
  await syncDirectory(directory);
  const from = join(directory, 'keys', staged('ca', id));
  await writeNewDirectory(from, [
    ['key.pem', toPem(intermediate.privateKey)],
    ['chain.pem', encodePem('CERTIFICATE', intermediate.certificate) + rootPem],
  ]);
  const won = await moveInto(from, join(directory, 'keys/ca'));
  if (!won) await rm(offline, { recursive: true, force: true });
  await syncDirectory(join(directory, 'keys'));
}

/**
 * Gives the staged root that `chainPem` ends in its place under offline/, as a start that crashed may not have come to,
 * and removes other staged roots, which no chain knows.
 */
export async function finishCaKeys(directory: string, chainPem: string): Promise<void> {
  for (const name of await stagedIn(directory, 'offline')) {
    const path = join(directory, name);
    const rootPem = await readFile(join(path, 'root.pem'), 'utf8').catch(() => '');
    if (rootPem === '' || !chainPem.endsWith(rootPem)) await rm(path, { recursive: true, force: true });
    else await moveRoot(path, join(directory, 'offline'));
  }
  await syncDirectory(directory);
}

async function moveRoot(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (cause) {
    // A second process that is starting too may have moved it.
    if (existsSync(from) || !existsSync(to)) throw cause;
  }
}

/** Removes what starts that crashed have left of a key set: keys that no certificate and no log ever knew. */
export async function sweepStaged(directory: string, set: KeySet): Promise<void> {
  const keys = join(directory, 'keys');
  for (const name of await stagedIn(keys, set)) await rm(join(keys, name), { recursive: true, force: true });
}

async function stagedIn(directory: string, name: KeySet | 'offline'): Promise<readonly string[]> {
  return (await readdir(directory)).filter((entry) => entry.startsWith(staged(name, '')));
}

/** Renames a staged directory into place; false, and the staged one is gone, when the place is taken. */
export async function moveInto(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (cause) {
    if (!isCode(cause, 'ENOTEMPTY', 'EEXIST', 'ENOENT')) throw cause;
    // ENOENT: the winner has already swept our staged directory away.
    if (!existsSync(to)) throw cause;
    await rm(from, { recursive: true, force: true });
    return false;
  }
}

const offlineReadme = `This directory holds the root key of your certificate authority.

  root.key.pem      the private key, encrypted (PKCS#8)
  root.passphrase   what it is encrypted with
  root.pem          the certificate

The server made it at its first start and never reads it again: leaves are signed by the
issuing CA in keys/ca. Whoever has these files can make certificates that every one of your
verifiers trusts.

Move the whole directory to a place that is not connected to this machine, with the
passphrase apart from the key, keep a second copy, and delete it here. You need it again only
to replace the issuing CA.
`;
