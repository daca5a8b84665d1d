import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readAuthorities } from '../ca/life-cycle-file.js';
import { AppError, messageOf } from '../errors.js';
import { pemLabel } from '../x509/pem.js';

/** A chain that lies somewhere, and its key where that lies beside it. */
export interface FoundChain {
  /** What it is: "CA 1f2e3d4c, active". */
  readonly title: string;
  /** The file it is in. */
  readonly path: string;
  readonly pem: string;
  /** Absent where the key is elsewhere or not looked for. */
  readonly keyPath?: string | undefined;
  /** A CA that is retired: its certificates may have expired and its key may be gone. */
  readonly isRetired?: boolean;
}

/** Where a directory that a ceremony or a server made has chains. */
const places: readonly { readonly title: string; readonly chain: string; readonly key?: string }[] = [
  { title: 'issuing CA', chain: 'keys/ca/chain.pem', key: 'keys/ca/key.pem' },
  { title: 'issuing CA', chain: 'ca/chain.pem', key: 'ca/key.pem' },
  { title: 'timestamp authority', chain: 'keys/tsa/chain.pem', key: 'keys/tsa/key.pem' },
  { title: 'timestamp authority', chain: 'tsa/chain.pem', key: 'tsa/key.pem' },
  { title: 'root', chain: 'offline/root.pem' },
  { title: "timestamp authority's root", chain: 'offline/tsa-root.pem' },
  // The directory offline/ itself, wherever it was moved to.
  { title: 'root', chain: 'root.pem' },
  { title: "timestamp authority's root", chain: 'tsa-root.pem' },
];

/** The chains in a file or in a directory. Throws AppError STARTUP when there is none. */
export async function findChains(path: string): Promise<readonly FoundChain[]> {
  const found = (await isDirectory(path)) ? await chainsIn(path) : [await chainFile(path)];
  if (found.length > 0) return found;
  const looked = places.map(({ chain }) => chain).join(', ');
  throw new AppError('STARTUP', `${path} holds no certificates: there is no authorities.json and none of ${looked}`);
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (cause) {
    throw new AppError('STARTUP', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

async function chainFile(path: string): Promise<FoundChain> {
  const pem = await read(path);
  const label = pemLabel(pem);
  if (pem.includes('-----BEGIN CERTIFICATE-----')) return { title: 'chain', path, pem };
  // SEQUENCE with a length of two bytes: certificates as many CAs hand them out.
  const looksLikeDer = pem.charCodeAt(0) === 0x30 && label === undefined;
  const form = looksLikeDer ? 'no PEM block, perhaps DER' : 'no PEM block';
  const found = label === undefined ? form : `PEM with the label "${label}"`;
  const convert = looksLikeDer
    ? ' (openssl x509 -inform DER)'
    : label === 'PKCS7'
      ? ' (openssl pkcs7 -print_certs)'
      : '';
  throw new AppError(
    'STARTUP',
    `${path} holds ${found}; expected PEM certificates, issuing CA first and root last${convert}`,
  );
}

async function chainsIn(directory: string): Promise<readonly FoundChain[]> {
  const recorded = await readAuthorities(directory);
  const cas = (recorded?.cas ?? []).map(({ name, state, chain, keyDirectory }) => ({
    title: `CA ${name}, ${state}`,
    path: join(directory, keyDirectory === undefined ? 'authorities.json' : `${keyDirectory}/chain.pem`),
    pem: chain,
    keyPath: keyDirectory === undefined ? undefined : join(directory, keyDirectory, 'key.pem'),
    isRetired: state === 'retired',
  }));
  const others: FoundChain[] = [];
  for (const { title, chain, key } of places) {
    const path = join(directory, chain);
    if (!existsSync(path) || cas.some((ca) => ca.path === path)) continue;
    const keyPath = key === undefined || !existsSync(join(directory, key)) ? undefined : join(directory, key);
    others.push({ title, path, pem: await read(path), keyPath });
  }
  return [...cas, ...others];
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new AppError('STARTUP', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}
