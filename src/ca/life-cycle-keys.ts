import { createPublicKey, hash, verify, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chown, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { AppError, messageOf } from '../errors.js';
import { parseCertificate } from '../x509/certificate.js';
import { decodePemAll, encodePem } from '../x509/pem.js';
import type { CertificateAuthority } from './authority.js';
import { loadChain } from './chain.js';
import { openFileSigner } from './file-signer.js';
import { isCode, readPrivateFile, syncDirectory, writeNewDirectory } from './private-file.js';
import { signatureAlgorithmOf } from './signature-algorithm.js';

/** A CA's chain as clients come to know it: certificates only. */
export interface PublicChain {
  /** DER, issuing CA first, root last. */
  readonly chain: readonly Uint8Array[];
  /** The same as PEM, each ending in a newline. */
  readonly chainPem: readonly string[];
  /** SHA-256 of the issuing certificate's DER, in hex. */
  readonly fingerprint: string;
  /** The window in which every certificate of the chain is valid. */
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Reads a chain that was checked when it was recorded; throws AppError STARTUP when it cannot be read any more. */
export function readPublicChain(pem: string, where: string): PublicChain {
  try {
    const chain = decodePemAll(pem, 'CERTIFICATE');
    const [issuing] = chain;
    if (issuing === undefined) throw new TypeError('it holds no certificate');
    const certificates = chain.map(parseCertificate);
    return {
      chain,
      chainPem: chain.map((der) => encodePem('CERTIFICATE', der)),
      fingerprint: fingerprintOf(issuing),
      notBefore: new Date(Math.max(...certificates.map(({ notBefore }) => notBefore.getTime()))),
      notAfter: new Date(Math.min(...certificates.map(({ notAfter }) => notAfter.getTime()))),
    };
  } catch (cause) {
    throw new AppError('STARTUP', `the certificate chain of ${where} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

/** SHA-256 of a certificate's DER, in hex, as openssl x509 -fingerprint -sha256 shows it. */
export function fingerprintOf(certificate: Uint8Array): string {
  return hash('sha256', certificate);
}

/** The fingerprint of its issuing certificate: which CA it is. Throws AppError STARTUP for an empty chain. */
export function fingerprintOfCa({ chain }: Pick<CertificateAuthority, 'chain'>): string {
  const [issuing] = chain;
  if (issuing === undefined) throw new AppError('STARTUP', 'the CA has no certificate');
  return fingerprintOf(issuing);
}

/** What a CA is called unless its operator gives it a name: the start of its fingerprint. */
export function defaultName(fingerprint: string): string {
  return fingerprint.slice(0, 8);
}

/**
 * Checks a chain whose key is elsewhere as `loadChain` would with it. A chain that is not valid yet is checked as of the
 * day it will be. Throws AppError STARTUP.
 */
export function checkChain(pem: string, now: number): PublicChain {
  const known = readPublicChain(pem, 'this CA');
  const [issuing] = known.chain;
  const publicKey = createPublicKey(
    new X509Certificate(issuing ?? '').publicKey.export({ type: 'spki', format: 'pem' }),
  );
  const absent = () => Promise.reject(new TypeError('the key is elsewhere'));
  const signer = { publicKey, signatureAlgorithm: new Uint8Array(), sign: absent, close: () => Promise.resolve() };
  loadChain(pem, signer, Math.max(now, known.notBefore.getTime()));
  return known;
}

/**
 * Opens the CA whose key.pem and chain.pem are in `keyDirectory` of a data directory. Throws AppError STARTUP that names the
 * file which is wrong.
 */
export async function openKeyedCa(directory: string, keyDirectory: string, now: number): Promise<CertificateAuthority> {
  const keyPath = join(directory, keyDirectory, 'key.pem');
  const chainPath = join(directory, keyDirectory, 'chain.pem');
  const key = await readPrivateFile(keyPath);
  const signer = about(keyPath, () => openFileSigner(key));
  const chain = await readChainFile(chainPath, keyPath);
  const ca = about(chainPath, () => loadChain(chain, signer, now));
  await selfTest(ca);
  return ca;
}

/** Reads the chain.pem that lies beside a key; throws AppError STARTUP. */
export async function readChainFile(path: string, keyPath: string): Promise<string> {
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

/** No certificate can begin like this: a signature over it is of no use to anybody. */
const probe = Buffer.from('mayfly asks whether this key can sign');

/** Has the CA's key sign once and verifies it; throws AppError STARTUP when that fails. */
export async function selfTest({ signer }: CertificateAuthority): Promise<void> {
  const algorithm = signatureAlgorithmOf(signer.publicKey);
  let good: boolean;
  try {
    const signature = await signer.sign(probe);
    good = algorithm !== undefined && verify(algorithm.hash, probe, signer.publicKey, signature);
  } catch (cause) {
    throw new AppError('STARTUP', `the CA key failed its self-test: ${messageOf(cause)}`, { cause });
  }
  if (!good) throw new AppError('STARTUP', 'the CA key failed its self-test: its signature does not verify');
}

/**
 * Puts key.pem (PKCS#8, plain) and chain.pem of a CA that is not recorded yet into keys/ca-NAME, durably; what an attempt
 * that was cut short left there is replaced. Gives the directory, relative to the data directory.
 */
export async function storeKeys(directory: string, name: string, keyPem: string, chainPem: string): Promise<string> {
  const keyDirectory = `keys/ca-${name}`;
  const path = join(directory, keyDirectory);
  const staged = `${path}.new`;
  for (const leftover of [staged, path]) await rm(leftover, { recursive: true, force: true });
  await writeNewDirectory(staged, [
    ['key.pem', keyPem],
    ['chain.pem', chainPem],
  ]);
  await giveToOwnerOf(directory, staged, join(staged, 'key.pem'), join(staged, 'chain.pem'));
  await rename(staged, path);
  await syncDirectory(join(directory, 'keys'));
  return keyDirectory;
}

/** A root who runs a command for a server that runs as somebody else must leave files which that one can read. */
async function giveToOwnerOf(directory: string, ...paths: readonly string[]): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = await stat(directory);
  if (uid !== 0) for (const path of paths) await chown(path, uid, gid);
}

/** Removes a key directory for good; nothing to do when it is gone. Throws AppError STARTUP when it cannot be removed. */
export async function removeKeys(directory: string, keyDirectory: string): Promise<void> {
  const path = join(directory, keyDirectory);
  if (!existsSync(path)) return;
  try {
    // The key first: what an interruption leaves must not be it.
    await rm(join(path, 'key.pem'), { force: true });
    await syncDirectory(path);
    await rm(path, { recursive: true, force: true });
    await syncDirectory(join(directory, 'keys'));
  } catch (cause) {
    const what = `the key ${join(path, 'key.pem')} cannot be removed: ${messageOf(cause)}`;
    throw new AppError('STARTUP', `${what}; where ${basename(path)} is a mounted Secret, delete that`, { cause });
  }
}
