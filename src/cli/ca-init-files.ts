import { randomBytes } from 'node:crypto';
import type { CeremonyCertificates } from '../ca/ceremony.js';
import { chainsOf } from '../ca/ceremony.js';
import type { CeremonyFile } from '../ca/ceremony-files.js';
import { encryptedPem, plainPem } from '../ca/ceremony-key.js';
import { type KeySet, upgrades, writeFormat } from '../ca/data-format.js';
import { recordFirstCa } from '../ca/life-cycle-first.js';
import type { Signer } from '../ca/signer.js';
import { AppError } from '../errors.js';

/** The keys of a ceremony, and the passphrases of those that are encrypted. */
export interface MadeKeys {
  readonly root: Signer;
  readonly issuing: Signer | undefined;
  readonly timestamping: Signer | undefined;
  readonly timestampRoot: Signer | undefined;
  readonly passphrases: {
    readonly root: string | undefined;
    readonly issuing: string | undefined;
    readonly timestamping: string | undefined;
  };
}

/** The flags that name single files. */
export const pathFlags = [
  { flag: 'root-key-out', option: 'rootKeyOut', what: 'the root key, encrypted,' },
  { flag: 'root-out', option: 'rootOut', what: "the root's certificate" },
  { flag: 'key-out', option: 'keyOut', what: 'the issuing key' },
  { flag: 'chain-out', option: 'chainOut', what: 'the chain, issuing CA first,' },
  { flag: 'tsa-root-key-out', option: 'tsaRootKeyOut', what: "the key of the timestamp authority's own root" },
  { flag: 'tsa-root-out', option: 'tsaRootOut', what: "the certificate of the timestamp authority's own root" },
  { flag: 'tsa-key-out', option: 'tsaKeyOut', what: 'the timestamp key' },
  { flag: 'tsa-chain-out', option: 'tsaChainOut', what: 'the chain of the timestamp authority' },
] as const;

export type PathFlag = (typeof pathFlags)[number]['flag'];

/** A file of a ceremony and what it is, for the transcript. */
export interface InitFile extends CeremonyFile {
  readonly what: string;
  /** The flag that would name its path; absent for files that only explain. */
  readonly flag?: PathFlag;
}

interface Piece {
  readonly flag: PathFlag;
  /** In a data directory. */
  readonly place: string;
  readonly what: string;
  readonly content: string;
  readonly isPrivate: boolean;
}

/**
 * The files of a ceremony, with paths relative to a data directory or as the flags say; in an order in which a beginning of
 * the list never looks whole. Throws AppError STARTUP when flags for single files are missing or too many.
 */
export async function initFiles(
  { paths }: { readonly paths: Readonly<Record<string, string>> },
  keys: MadeKeys,
  certificates: CeremonyCertificates,
): Promise<readonly InitFile[]> {
  const pieces = [...(await rootPieces(keys, certificates)), ...(await workingPieces(keys, certificates))];
  if (Object.keys(paths).length === 0) {
    const readme = { path: 'offline/README.txt', content: offlineReadme, isPrivate: true, what: 'what they are' };
    const files = pieces.map(({ place, ...piece }) => ({ ...piece, path: place }));
    return pieces.some(({ flag }) => flag === 'root-key-out' || flag === 'tsa-root-key-out')
      ? [...files, readme]
      : files;
  }
  const missing = pieces.filter(({ flag }) => paths[flag] === undefined).map(({ flag }) => `--${flag}`);
  const needed = pieces.map(({ flag }) => `--${flag}`).join(', ');
  if (missing.length > 0) {
    throw new AppError('STARTUP', `this ceremony makes ${needed}; ${missing.join(', ')} is missing`);
  }
  const stray = Object.keys(paths).find((flag) => !pieces.some((piece) => piece.flag === flag));
  if (stray !== undefined) throw new AppError('STARTUP', `--${stray}: this ceremony makes only ${needed}`);
  // Outside of keys/, which is the server's alone, certificates are for everybody.
  const isPrivate = ({ content }: Piece): boolean => content.includes('PRIVATE KEY');
  return pieces.map((piece) => ({ ...piece, path: paths[piece.flag] ?? '', isPrivate: isPrivate(piece) }));
}

async function rootPieces(keys: MadeKeys, certificates: CeremonyCertificates): Promise<readonly Piece[]> {
  const pieces: Piece[] = [];
  const { root: passphrase } = keys.passphrases;
  const rootKey = await keyPem(keys.root, passphrase);
  if (rootKey !== undefined) {
    const what = 'root key, encrypted with your passphrase';
    pieces.push({ flag: 'root-key-out', place: 'offline/root.key.pem', what, content: rootKey, isPrivate: true });
  }
  const isPrivate = false;
  const { root, timestampRoot } = certificates;
  pieces.push({ flag: 'root-out', place: 'offline/root.pem', what: "root's certificate", content: root, isPrivate });
  const tsaRootKey = keys.timestampRoot === undefined ? undefined : await keyPem(keys.timestampRoot, passphrase);
  if (tsaRootKey !== undefined && timestampRoot !== undefined) {
    pieces.push(
      {
        flag: 'tsa-root-key-out',
        place: 'offline/tsa-root.key.pem',
        what: "key of the timestamp authority's root, encrypted with the same passphrase",
        content: tsaRootKey,
        isPrivate: true,
      },
      {
        flag: 'tsa-root-out',
        place: 'offline/tsa-root.pem',
        what: "certificate of the timestamp authority's root",
        content: timestampRoot,
        isPrivate,
      },
    );
  }
  return pieces;
}

/** The server reads keys/ as it is; a key with a passphrase, or one that is elsewhere, it is told of by flags. */
async function workingPieces(keys: MadeKeys, certificates: CeremonyCertificates): Promise<readonly Piece[]> {
  const { issuing, timestamping, passphrases } = keys;
  const [issuingChain = '', tsaChain = ''] = chainsOf(certificates);
  const tsa =
    timestamping === undefined
      ? []
      : await keyAndChain(timestamping, passphrases.timestamping, tsaChain, {
          name: 'tsa',
          keyFlag: 'tsa-key-out',
          chainFlag: 'tsa-chain-out',
          titles: ['timestamp key', 'chain of the timestamp authority'],
        });
  const ca =
    issuing === undefined
      ? []
      : await keyAndChain(issuing, passphrases.issuing, issuingChain, {
          name: 'ca',
          keyFlag: 'key-out',
          chainFlag: 'chain-out',
          titles: ['issuing key', 'chain: issuing CA, root'],
        });
  return [...tsa, ...ca];
}

interface Names {
  readonly name: 'ca' | 'tsa';
  readonly keyFlag: PathFlag;
  readonly chainFlag: PathFlag;
  readonly titles: readonly [key: string, chain: string];
}

async function keyAndChain(
  signer: Signer,
  passphrase: string | undefined,
  chain: string,
  { name, keyFlag, chainFlag, titles }: Names,
): Promise<readonly Piece[]> {
  const key = await keyPem(signer, passphrase);
  const isServable = key !== undefined && passphrase === undefined;
  const directory = isServable ? `keys/${name}` : name;
  const [keyTitle, chainTitle] = titles;
  const chainPiece = { flag: chainFlag, place: `${directory}/chain.pem`, what: chainTitle, content: chain };
  if (key === undefined) return [{ ...chainPiece, isPrivate: false }];
  const what = `${keyTitle}, ${passphrase === undefined ? 'plain' : 'encrypted'}`;
  return [
    { flag: keyFlag, place: `${directory}/key.pem`, what, content: key, isPrivate: true },
    { ...chainPiece, isPrivate: isServable },
  ];
}

/** Undefined for a key that is not in this process's memory. */
async function keyPem({ privateKey }: Signer, passphrase: string | undefined): Promise<string | undefined> {
  if (privateKey === undefined) return undefined;
  return passphrase === undefined ? plainPem(privateKey) : encryptedPem(privateKey, passphrase, randomBytes);
}

/** Records in a data directory which CA and which key sets it has, as a first start would. */
export async function finishDataDirectory(directory: string, files: readonly CeremonyFile[]): Promise<void> {
  const sets: readonly KeySet[] = ['ca', 'tsa'];
  const holds = sets.filter((set) => files.some(({ path }) => path === `keys/${set}/key.pem`));
  if (holds.includes('ca')) await recordFirstCa(directory);
  if (holds.length > 0) await writeFormat(directory, { format: upgrades.length + 1, holds });
}

const offlineReadme = `This directory holds the root key of your certificate authority, encrypted.

Whoever has it and its passphrase can make certificates that every one of your verifiers
trusts. The server never reads it. Move the whole directory to a place that is not connected
to the server, keep a second copy somewhere else, and the passphrase apart from both. You
need it again only to sign the next issuing CA or timestamp authority: "mayfly ca sign", or
"mayfly ca add --root DIRECTORY".
`;
