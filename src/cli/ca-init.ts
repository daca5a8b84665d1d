import { randomBytes } from 'node:crypto';
import { type Command, Option } from 'commander';
import { type CeremonyPlan, chainsOf, type Holder, holdCeremony } from '../ca/ceremony.js';
import { checkEmpty, checkUnused, leftovers, writeDirectory, writeFiles } from '../ca/ceremony-files.js';
import { generateKey, newKeyKinds } from '../ca/ceremony-key.js';
import { createKeySigner } from '../ca/file-signer.js';
import type { Signer } from '../ca/signer.js';
import { AppError } from '../errors.js';
import { finishDataDirectory, initFiles, type MadeKeys, pathFlags } from './ca-init-files.js';
import { transcript } from './ca-init-transcript.js';
import { isRemote, type KeyFlags, keyKindFlag, lifetimeFlag, nameFlag, openKey, timestampKeyKinds } from './ca-keys.js';
import { givenPassphrase, newPassphrase, type PassphrasePlace } from './ca-passphrase.js';
import { type CaIo, terminalIo } from './ca-terminal.js';
import { declareServeFlags } from './flag-options.js';
import { offlineOptions } from './log-options.js';

const help = `
Run it where the root shall be made, best on a machine without a network. It makes a root, an issuing CA below it and, with
--tsa, a timestamp authority, and writes them to a directory that "mayfly serve --data-dir" takes as it is, with the root
under offline/. It prints what to move where. Nothing is ever overwritten: the directory must be new or empty.

The root key is always encrypted. Its passphrase is asked for twice; without a terminal it comes from
--root-passphrase-file or MAYFLY_ROOT_PASSPHRASE. The issuing key lies in the data directory as the server reads it, plain
and only for its user; give --issuing-passphrase-file (or MAYFLY_ISSUING_PASSPHRASE) to have it encrypted for
"serve --ca fileca". The same goes for the timestamp key.

When root and issuing CA live on different machines, or the root is your company's: --root-only, "mayfly ca csr" and
"mayfly ca sign". See docs/keys.md.
`;

/** What the command line says; names as flags have them. */
export interface InitOptions {
  readonly dataDir: string;
  readonly organization: string;
  readonly rootOnly?: boolean;
  readonly tsa?: boolean;
  readonly tsaOwnRoot?: boolean;
  readonly rootName?: string;
  readonly issuingName?: string;
  readonly tsaName?: string;
  readonly tsaRootName?: string;
  readonly rootKeyType: string;
  readonly issuingKeyType: string;
  readonly tsaKeyType: string;
  readonly rootLifetime: string;
  readonly issuingLifetime: string;
  readonly tsaLifetime: string;
  readonly rootPassphraseFile?: string;
  readonly issuingPassphraseFile?: string;
  readonly tsaPassphraseFile?: string;
  readonly kmsResource?: string;
  readonly pkcs11ConfigPath?: string;
  readonly hsmKeyLabel?: string;
  readonly rootKmsResource?: string;
  readonly rootHsmKeyLabel?: string;
  /** Paths for single files, by flag: "key-out". */
  readonly paths: Readonly<Record<string, string>>;
}

/** Where nobody says otherwise. */
export const initDefaults = {
  organization: 'mayfly',
  rootKeyType: 'P-384',
  issuingKeyType: 'P-256',
  tsaKeyType: 'P-256',
  rootLifetime: '10y',
  issuingLifetime: '5y',
  tsaLifetime: '10y',
  paths: {},
} as const satisfies Partial<InitOptions>;

/** `mayfly ca init`: the ceremony. */
export function registerCaInit(ca: Command, done: (code: number) => void): void {
  const command = ca.command('init').description('make a root, an issuing CA and, if asked, a timestamp authority');
  declareServeFlags(command, ['data-dir']);
  const kinds = newKeyKinds.join(', ');
  const { organization, rootKeyType, issuingKeyType, tsaKeyType, rootLifetime, issuingLifetime, tsaLifetime } =
    initDefaults;
  command
    .option('--organization <name>', 'O of every certificate', organization)
    .option('--root-name <name>', 'CN of the root (default: "ORGANIZATION root ID")')
    .option('--issuing-name <name>', 'CN of the issuing CA (default: "ORGANIZATION issuing CA ID")')
    .option('--root-key-type <kind>', kinds, rootKeyType)
    .option('--issuing-key-type <kind>', kinds, issuingKeyType)
    .option('--root-lifetime <time>', 'days (d), weeks (w) or years of 365 days (y)', rootLifetime)
    .option('--issuing-lifetime <time>', 'the same; cut to what is left of the root', issuingLifetime)
    .option('--root-passphrase-file <file>', 'passphrase of the root key')
    .option('--issuing-passphrase-file <file>', 'encrypt the issuing key with this passphrase')
    .option('--root-only', 'make no issuing CA: it is signed later, with "mayfly ca sign"')
    .option('--tsa', 'make a timestamp authority too, under the same root')
    .option('--tsa-own-root', 'the same, under a root of its own')
    .option('--tsa-name <name>', 'CN of the timestamp authority')
    .option('--tsa-root-name <name>', 'CN of its own root')
    .option('--tsa-key-type <kind>', timestampKeyKinds.join(', '), tsaKeyType)
    .option('--tsa-lifetime <time>', 'as --issuing-lifetime', tsaLifetime)
    .option('--tsa-passphrase-file <file>', 'encrypt the timestamp key with this passphrase')
    .option('--kms-resource <uri>', 'the issuing key is in a KMS: awskms:// gcpkms:// azurekms:// hashivault://')
    .option('--pkcs11-config-path <file>', "PKCS#11 configuration in crypto11's JSON form")
    .option('--hsm-key-label <label>', 'the issuing key is in that HSM, with this CKA_LABEL')
    .option('--root-kms-resource <uri>', 'the root key is in a KMS')
    .option('--root-hsm-key-label <label>', 'the root key is in the HSM of --pkcs11-config-path');
  for (const { flag, what } of pathFlags) {
    command.addOption(new Option(`--${flag} <file>`, `write ${what} here, not to --data-dir`));
  }
  command.addHelpText('after', help).action(async () => {
    const given = command.opts();
    const paths = Object.fromEntries(
      pathFlags.flatMap(({ flag, option }) => (given[option] === undefined ? [] : [[flag, String(given[option])]])),
    );
    if (Object.keys(paths).length > 0 && given.dataDir !== undefined) {
      throw new AppError('STARTUP', '--data-dir names a directory and --*-out single files; expected one or the other');
    }
    const { dataDir } = offlineOptions(command, ['data-dir'], process.env);
    await initCommand({ ...(given as InitOptions), dataDir, paths }, terminalIo());
    done(0);
  });
}

/** Holds the ceremony, writes its files and prints the transcript. Throws AppError STARTUP; then nothing was written. */
export async function initCommand(options: InitOptions, io: CaIo): Promise<void> {
  checkOptions(options);
  const id = randomBytes(4).toString('hex');
  const toDirectory = Object.keys(options.paths).length === 0;
  if (toDirectory) await checkDirectory(options.dataDir, io);
  else checkUnused(Object.values(options.paths));
  const titles = titlesOf(options, id);
  const opened: Signer[] = [];
  try {
    const keys = await makeKeys(options, io, opened);
    const certificates = await holdCeremony(planOf(titles, keys, io.now()));
    const files = await initFiles(options, keys, certificates);
    if (toDirectory) {
      await writeDirectory(options.dataDir, files, id, (staged) => finishDataDirectory(staged, files));
    } else await writeFiles(files, id);
    io.out(transcript({ options, files, chains: chainsOf(certificates), now: io.now() }));
  } finally {
    for (const signer of opened) await signer.close();
  }
}

async function checkDirectory(path: string, io: CaIo): Promise<void> {
  await checkEmpty(path);
  for (const left of await leftovers(path)) {
    io.err(`Note: ${left} was left by a ceremony that was cut short; none of its keys is in use. Remove it.\n`);
  }
}

const rootOnlyConflicts = ['tsa', 'tsaOwnRoot', 'kmsResource', 'hsmKeyLabel', 'issuingPassphraseFile'] as const;

function checkOptions(options: InitOptions): void {
  const stray = rootOnlyConflicts.find((name) => options[name] !== undefined);
  if (options.rootOnly === true && stray !== undefined) {
    const flag = stray.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new AppError('STARTUP', `--root-only makes nothing but a root, so --${flag} has no place`);
  }
}

/** Asks for what must be typed first, then makes or opens the keys. `opened` gets every signer, to be closed. */
async function makeKeys(options: InitOptions, io: CaIo, opened: Signer[]): Promise<MadeKeys> {
  const { pkcs11ConfigPath, kmsResource, hsmKeyLabel, rootKmsResource, rootHsmKeyLabel } = options;
  const remoteRoot: KeyFlags = {
    kmsResource: rootKmsResource,
    hsmKeyLabel: rootHsmKeyLabel,
    pkcs11ConfigPath,
    prefix: 'root-',
  };
  const remoteIssuing: KeyFlags = { kmsResource, hsmKeyLabel, pkcs11ConfigPath };
  const hasTsa = options.tsa === true || options.tsaOwnRoot === true;
  const hasIssuing = options.rootOnly !== true;
  const places = passphrasePlaces(options);
  const kinds = {
    root: keyKindFlag('--root-key-type', options.rootKeyType),
    issuing: keyKindFlag('--issuing-key-type', options.issuingKeyType),
    tsa: keyKindFlag('--tsa-key-type', options.tsaKeyType, timestampKeyKinds),
  };
  const needsRootPassphrase = !isRemote(remoteRoot) || options.tsaOwnRoot === true;
  const passphrases = {
    root: needsRootPassphrase ? await newPassphrase(places.root, io) : undefined,
    issuing: hasIssuing && !isRemote(remoteIssuing) ? await givenPassphrase(places.issuing, io) : undefined,
    timestamping: hasTsa ? await givenPassphrase(places.tsa, io) : undefined,
  };
  const make = async (kind: keyof typeof kinds, remote?: KeyFlags): Promise<Signer> => {
    const elsewhere = remote === undefined ? undefined : await openKey(remote, places[kind], io);
    const signer = elsewhere ?? createKeySigner(await generateKey(kinds[kind]));
    opened.push(signer);
    return signer;
  };
  return {
    passphrases,
    root: await make('root', remoteRoot),
    issuing: hasIssuing ? await make('issuing', remoteIssuing) : undefined,
    timestamping: hasTsa ? await make('tsa') : undefined,
    timestampRoot: options.tsaOwnRoot === true ? await make('root') : undefined,
  };
}

function passphrasePlaces(options: InitOptions): Readonly<Record<'root' | 'issuing' | 'tsa', PassphrasePlace>> {
  const place = (what: string, name: string, file: string | undefined): PassphrasePlace => ({
    what,
    flag: `--${name}-passphrase-file`,
    file,
    variable: `MAYFLY_${name.toUpperCase()}_PASSPHRASE`,
  });
  return {
    root: place('the root key', 'root', options.rootPassphraseFile),
    issuing: place('the issuing key', 'issuing', options.issuingPassphraseFile),
    tsa: place('the timestamp key', 'tsa', options.tsaPassphraseFile),
  };
}

/** What the certificates of a ceremony are to say. */
interface Titles extends Readonly<Record<'root' | 'issuing' | 'timestamping' | 'timestampRoot', Title>> {
  readonly organization: string;
}

type Title = Pick<Holder, 'commonName' | 'lifetimeDays'>;

function titlesOf(options: InitOptions, id: string): Titles {
  const organization = nameFlag('--organization', options.organization);
  const title = (
    name: string,
    given: string | undefined,
    role: string,
    [flag, lifetime]: readonly string[],
  ): Title => ({
    commonName: nameFlag(`--${name}-name`, given ?? `${organization} ${role} ${id}`),
    lifetimeDays: lifetimeFlag(`--${flag}-lifetime`, lifetime ?? ''),
  });
  const root = ['root', options.rootLifetime];
  return {
    organization,
    root: title('root', options.rootName, 'root', root),
    issuing: title('issuing', options.issuingName, 'issuing CA', ['issuing', options.issuingLifetime]),
    timestamping: title('tsa', options.tsaName, 'timestamp authority', ['tsa', options.tsaLifetime]),
    timestampRoot: title('tsa-root', options.tsaRootName, 'timestamp root', root),
  };
}

function planOf(titles: Titles, keys: MadeKeys, now: Date): CeremonyPlan {
  const holder = (role: 'issuing' | 'timestamping' | 'timestampRoot'): Holder | undefined => {
    const signer = keys[role];
    return signer === undefined ? undefined : { signer, ...titles[role] };
  };
  return {
    organization: titles.organization,
    root: { signer: keys.root, ...titles.root },
    issuing: holder('issuing'),
    timestamping: holder('timestamping'),
    timestampRoot: holder('timestampRoot'),
    now: now.getTime(),
    random: randomBytes,
  };
}
