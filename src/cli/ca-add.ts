import { type KeyObject, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { plainPem } from '../ca/ceremony-key.js';
import { loadChain } from '../ca/chain.js';
import { createIntermediate, intermediateLifetimeDays } from '../ca/create.js';
import { readFormat, upgrades } from '../ca/data-format.js';
import { openFileSigner } from '../ca/file-signer.js';
import { type Authorities, activeOf, addCa, adoptCa, findCa, noAuthorities } from '../ca/life-cycle.js';
import { updateAuthorities } from '../ca/life-cycle-file.js';
import { checkChain, defaultName, selfTest, storeKeys } from '../ca/life-cycle-keys.js';
import { AppError, messageOf } from '../errors.js';
import { parseCertificate } from '../x509/certificate.js';
import { nameAttributes } from '../x509/name.js';
import { decodePem, encodePem } from '../x509/pem.js';
import { openKeyFile } from './ca-keys.js';
import { dataDirOf, printCas } from './ca-list.js';
import { type CaIo, terminalIo } from './ca-terminal.js';
import { declareServeFlags } from './flag-options.js';

const help = `
Publishes a CA as the next one: it appears in the trust bundle and in trusted_root.json and issues nothing before it is
promoted. A running server notices by itself.

Three ways:
  mayfly ca add                                  a new issuing CA under the root in DATA-DIR/offline (or --root)
  mayfly ca add --chain c.pem --key k.pem        one made elsewhere (mayfly ca csr, mayfly ca sign); the key is copied, plain,
                                                 into DATA-DIR/keys
  mayfly ca add --chain c.pem                    one whose key stays elsewhere (--ca fileca, pkcs11ca, kmsca): announced to
                                                 clients before the server is given the key

In a data directory without a CA it is active at once.
`;

export interface AddOptions {
  readonly dataDir: string;
  readonly name?: string | undefined;
  readonly chain?: string | undefined;
  readonly key?: string | undefined;
  readonly passphraseFile?: string | undefined;
  readonly root?: string | undefined;
}

/** `mayfly ca add`: publishes the next CA. */
export function registerCaAdd(ca: Command, done: (code: number) => void): void {
  const command = ca.command('add').description('publish the next CA, which issues nothing before it is promoted');
  declareServeFlags(command, ['data-dir']);
  command
    .option('--name <name>', 'what to call it (default: the start of its fingerprint)')
    .option('--chain <file>', 'PEM chain: issuing certificate first, root last')
    .option('--key <file>', 'PEM private key of the issuing certificate')
    .option(
      '--passphrase-file <file>',
      'passphrase of the key in --key (or MAYFLY_PASSPHRASE), or of the root key (or MAYFLY_ROOT_PASSPHRASE)',
    )
    .option(
      '--root <directory>',
      'root.pem and root.key.pem to make a new issuing CA under (default: DATA-DIR/offline)',
    )
    .addHelpText('after', help)
    .action(async () => {
      await addCommand({ ...command.opts(), dataDir: dataDirOf(command) }, terminalIo());
      done(0);
    });
}

/** What is to be published. */
interface Material {
  /** PEM. */
  readonly chain: string;
  /** PKCS#8 PEM, plain; absent when the key stays elsewhere. */
  readonly key?: string;
}

/** Adds and prints what the CAs are now; throws AppError STARTUP with what is in the way. */
export async function addCommand(options: AddOptions, io: CaIo): Promise<void> {
  const { dataDir } = options;
  const now = io.now();
  if (options.name !== undefined && !/^[\w][\w.-]{0,63}$/.test(options.name)) {
    throw wrong(`--name is "${options.name}"; expected letters, digits, dots and dashes`);
  }
  await readFormat(dataDir, upgrades);
  const { chain, key } =
    options.chain === undefined ? await underRoot(options, now, io) : await readGiven(options, options.chain, io);
  const { fingerprint, notBefore } = checkChain(chain, now.getTime());
  if (key !== undefined) await tryKey(chain, key, Math.max(now.getTime(), notBefore.getTime()));
  await mkdir(join(dataDir, 'keys'), { recursive: true, mode: 0o700 });
  const ca = { name: options.name ?? defaultName(fingerprint), fingerprint, chain };
  const authorities = await updateAuthorities(dataDir, async (before = noAuthorities) => {
    const added = addCa(before, { ...ca, ...(key === undefined ? {} : { keyDirectory: `keys/ca-${ca.name}` }) }, now);
    if (key === undefined) return added;
    const keyDirectory = await keyDirectoryOf(dataDir, before, ca, key);
    const isFirst = activeOf(before) === undefined;
    return isFirst ? adoptCa(before, { ...ca, keyDirectory }, now) : addCa(before, { ...ca, keyDirectory }, now);
  });
  printCas(authorities, io);
  const { name, state, keyDirectory } = findCa(authorities, fingerprint);
  if (state !== 'next') return;
  const next =
    keyDirectory === undefined
      ? "give the server its key and chain (--ca …, or the files that the server's flags name)"
      : `mayfly ca promote ${name}`;
  io.out(`Clients learn of ${name} from now on. Wait, as docs/keys.md says, then: ${next}\n`);
}

/** Puts the key in its place, or finds it there when the CA was retired with it. */
async function keyDirectoryOf(
  dataDir: string,
  before: Authorities,
  { name, fingerprint, chain }: { readonly name: string; readonly fingerprint: string; readonly chain: string },
  key: string,
): Promise<string> {
  const known = before.cas.find((one) => one.fingerprint === fingerprint);
  return known?.keyDirectory ?? storeKeys(dataDir, known?.name ?? name, key, chain);
}

async function readGiven(options: AddOptions, chainFile: string, io: CaIo): Promise<Material> {
  if (options.root !== undefined) {
    throw wrong('--root makes a new CA, --chain names one that exists; expected one of them');
  }
  const chain = await read('--chain', chainFile);
  if (options.key === undefined) return { chain };
  const what = 'the key of this CA';
  return { chain, key: plainPem(await openKey(options.key, what, 'MAYFLY_PASSPHRASE', options.passphraseFile, io)) };
}

/** A private key in a file, with its passphrase where it has one. */
async function openKey(
  path: string,
  what: string,
  variable: string,
  passphraseFile: string | undefined,
  io: CaIo,
): Promise<KeyObject> {
  const place = { what, flag: '--passphrase-file', file: passphraseFile, variable };
  const { privateKey } = await openKeyFile(path, place, io);
  if (privateKey === undefined) throw wrong(`${path} holds no private key`);
  return privateKey;
}

async function tryKey(chain: string, key: string, at: number): Promise<void> {
  const ca = loadChain(chain, openFileSigner(key), at);
  await selfTest(ca);
  await ca.signer.close();
}

async function underRoot(options: AddOptions, now: Date, io: CaIo): Promise<Material> {
  const directory = options.root ?? join(options.dataDir, 'offline');
  if (options.key !== undefined) throw wrong('--key goes with --chain, the certificates that belong to it');
  const hint =
    'bring the root back for this, or make the CA where the root is (mayfly ca csr, mayfly ca sign) and give --chain and --key';
  const rootPem = await read('--root', join(directory, 'root.pem'), hint);
  // The first start of a server leaves one there; a ceremony keeps it in somebody's head.
  const written = join(directory, 'root.passphrase');
  const passphraseFile = options.passphraseFile ?? (existsSync(written) ? written : undefined);
  const rootKey = join(directory, 'root.key.pem');
  const privateKey = await openKey(rootKey, 'the root key', 'MAYFLY_ROOT_PASSPHRASE', passphraseFile, io);
  const certificate = decodePem(rootPem, ['CERTIFICATE']).der;
  const attributes = nameAttributes(parseCertificate(certificate).subject);
  const organization = attributes.find(({ oid }) => oid === '2.5.4.10')?.value ?? 'mayfly';
  const made = await createIntermediate(
    { certificate, privateKey },
    {
      organization,
      commonName: `${organization} issuing CA ${randomBytes(4).toString('hex')}`,
      curve: 'P-256',
      now: now.getTime(),
      lifetimeDays: intermediateLifetimeDays,
      random: randomBytes,
    },
  );
  const chain = encodePem('CERTIFICATE', made.certificate) + encodePem('CERTIFICATE', certificate);
  return { chain, key: plainPem(made.privateKey) };
}

async function read(flag: string, path: string, hint?: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw wrong(`${flag}: cannot read ${path}: ${messageOf(cause)}${hint === undefined ? '' : `; ${hint}`}`);
  }
}

function wrong(detail: string): AppError {
  return new AppError('STARTUP', detail);
}
