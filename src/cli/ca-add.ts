import { createPrivateKey, randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
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
import { dataDirOf, printCas } from './ca-list.js';
import { declareServeFlags } from './flag-options.js';
import { type CommandIo, processIo } from './request-io.js';

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
    .option('--passphrase-file <file>', 'passphrase of the key in --key, or of the root key')
    .option(
      '--root <directory>',
      'root.pem and root.key.pem to make a new issuing CA under (default: DATA-DIR/offline)',
    )
    .addHelpText('after', help)
    .action(async () => {
      await addCommand({ ...command.opts(), dataDir: dataDirOf(command) }, processIo());
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
export async function addCommand(options: AddOptions, io: Pick<CommandIo, 'out' | 'now'>): Promise<void> {
  const { dataDir } = options;
  const now = io.now();
  if (options.name !== undefined && !/^[\w][\w.-]{0,63}$/.test(options.name)) {
    throw wrong(`--name is "${options.name}"; expected letters, digits, dots and dashes`);
  }
  await readFormat(dataDir, upgrades);
  const { chain, key } =
    options.chain === undefined ? await underRoot(options, now) : await readGiven(options, options.chain);
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
  const { name, state } = findCa(authorities, fingerprint);
  if (state === 'next')
    io.out(`Clients learn of ${name} from now on. Wait, as docs/keys.md says, then: mayfly ca promote ${name}\n`);
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

async function readGiven(options: AddOptions, chainFile: string): Promise<Material> {
  if (options.root !== undefined)
    throw wrong('--root makes a new CA, --chain names one that exists; expected one of them');
  const chain = await read('--chain', chainFile);
  if (options.key === undefined) return { chain };
  const passphrase = await passphraseOf(options.passphraseFile);
  const pem = await read('--key', options.key);
  openFileSigner(pem, passphrase);
  return { chain, key: plain(pem, passphrase) };
}

async function tryKey(chain: string, key: string, at: number): Promise<void> {
  const ca = loadChain(chain, openFileSigner(key), at);
  await selfTest(ca);
  await ca.signer.close();
}

async function underRoot(options: AddOptions, now: Date): Promise<Material> {
  const directory = options.root ?? join(options.dataDir, 'offline');
  if (options.key !== undefined) throw wrong('--key goes with --chain, the certificates that belong to it');
  const hint =
    'bring the root back for this, or make the CA where the root is (mayfly ca csr, mayfly ca sign) and give --chain and --key';
  const rootPem = await read('--root', join(directory, 'root.pem'), hint);
  const keyPem = await read('--root', join(directory, 'root.key.pem'), hint);
  const passphrase = await passphraseOf(options.passphraseFile ?? join(directory, 'root.passphrase'));
  openFileSigner(keyPem, passphrase);
  const certificate = decodePem(rootPem, ['CERTIFICATE']).der;
  const attributes = nameAttributes(parseCertificate(certificate).subject);
  const made = await createIntermediate(
    { certificate, privateKey: createPrivateKey(plain(keyPem, passphrase)) },
    {
      organization: attributes.find(({ oid }) => oid === '2.5.4.10')?.value ?? 'mayfly',
      commonName: `mayfly issuing CA ${randomBytes(4).toString('hex')}`,
      curve: 'P-256',
      now: now.getTime(),
      lifetimeDays: intermediateLifetimeDays,
      random: randomBytes,
    },
  );
  const chain = encodePem('CERTIFICATE', made.certificate) + encodePem('CERTIFICATE', certificate);
  return { chain, key: String(made.privateKey.export({ type: 'pkcs8', format: 'pem' })) };
}

/** The key as PKCS#8 without a passphrase; it was opened before, so nothing can be wrong with it. */
function plain(pem: string, passphrase: string | undefined): string {
  const key = createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });
  return String(key.export({ type: 'pkcs8', format: 'pem' }));
}

async function passphraseOf(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  return (await read('--passphrase-file', file)).replace(/\r?\n$/, '');
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
