import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Key, Signature } from '@tufjs/models';
import { isCode, readPrivateFile, syncDirectory, writeNewFile } from '../ca/private-file.js';
import { AppError } from '../errors.js';

/** The top-level roles of a repository (TUF specification, Section 2.1). */
export const tufRoles = ['root', 'targets', 'snapshot', 'timestamp'] as const;
export type TufRole = (typeof tufRoles)[number];

/** Root and targets sign at a ceremony; snapshot and timestamp sign by themselves, where the server can reach them. */
export const onlineRoles: readonly TufRole[] = ['snapshot', 'timestamp'];

/** Something that signs metadata with one key. */
export interface TufSigner {
  readonly keyId: string;
  sign(data: Uint8Array): Signature;
}

/** A private key in a file. */
export interface StoredKey {
  readonly key: Key;
  readonly path: string;
  readonly signer: TufSigner;
}

/** Gives the passphrase of an encrypted key file, or of new ones that are to be written there. */
export type Passphrase = (path: string, isNew: boolean) => Promise<string>;

const generate = promisify(generateKeyPair);
const scheme = 'ecdsa-sha2-nistp256';

/**
 * The public half as metadata holds it: ECDSA P-256 with SHA-256 as PEM, which every client of Sigstore reads. The key id
 * is the SHA-256 of the key's canonical JSON, in which a line break stands as it is.
 */
export function tufKeyOf(publicKey: KeyObject): Key {
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const canonical = `{"keytype":"ecdsa","keyval":{"public":"${pem}"},"scheme":"${scheme}"}`;
  const keyID = createHash('sha256').update(canonical).digest('hex');
  return new Key({ keyID, keyType: 'ecdsa', scheme, keyVal: { public: pem } });
}

/** The name of a key's file: by role and id, so that a key is found without opening the others. */
export function tufKeyFile(role: TufRole, keyId: string): string {
  return `${role}.${keyId.slice(0, 16)}.pem`;
}

/** Makes a key and writes it (PKCS#8, 0600, encrypted with AES-256 when there is a passphrase) into `dir` (made, 0700). */
export async function createTufKey(dir: string, role: TufRole, passphrase?: string): Promise<StoredKey> {
  const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' });
  const key = tufKeyOf(publicKey);
  const path = join(dir, tufKeyFile(role, key.keyID));
  const encryption = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase };
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem', ...encryption }).toString();
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await writeNewFile(path, pem, 0o600);
  await syncDirectory(dir);
  return { key, path, signer: signerOf(key, privateKey) };
}

/**
 * The keys of a role that lie in these directories, by the ids that the root metadata names.
 * @throws AppError STARTUP for a file that cannot be read or decrypted, or that holds another key than its name says.
 */
export async function findTufKeys(
  dirs: readonly string[],
  role: TufRole,
  keyIds: readonly string[],
  passphrase?: Passphrase,
): Promise<readonly StoredKey[]> {
  const found: StoredKey[] = [];
  for (const keyId of keyIds) {
    for (const dir of dirs) {
      const path = join(dir, tufKeyFile(role, keyId));
      if (!(await exists(path))) continue;
      found.push(await openTufKey(path, keyId, passphrase));
      break;
    }
  }
  return found;
}

async function openTufKey(path: string, keyId: string, passphrase: Passphrase | undefined): Promise<StoredKey> {
  const pem = await readPrivateFile(path);
  const isEncrypted = pem.includes('BEGIN ENCRYPTED');
  const secret = isEncrypted ? await passphrase?.(path, false) : undefined;
  if (isEncrypted && secret === undefined) {
    throw new AppError('STARTUP', `${path} is encrypted; a key that signs by itself has to be without passphrase`);
  }
  const privateKey = parsePrivateKey(pem, path, secret);
  const key = tufKeyOf(createPublicKey(privateKey));
  if (key.keyID !== keyId) {
    throw new AppError(
      'STARTUP',
      `${path} holds the key ${key.keyID}; expected ${keyId}, as the root metadata names it`,
    );
  }
  return { key, path, signer: signerOf(key, privateKey) };
}

function parsePrivateKey(pem: string, path: string, passphrase: string | undefined): KeyObject {
  try {
    return createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });
  } catch (cause) {
    const why = passphrase === undefined ? 'it is no PKCS#8 PEM' : 'the passphrase is wrong, or the file is damaged';
    throw new AppError('STARTUP', `the key ${path} cannot be opened: ${why}`, { cause });
  }
}

function signerOf(key: Key, privateKey: KeyObject): TufSigner {
  return {
    keyId: key.keyID,
    sign: (data) => new Signature({ keyID: key.keyID, sig: sign('sha256', data, privateKey).toString('hex') }),
  };
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (cause) {
    if (isCode(cause, 'ENOENT', 'ENOTDIR')) return false;
    throw new AppError('STARTUP', `the key ${path} cannot be reached`, { cause });
  }
}
