import { join, resolve } from 'node:path';
import { decodePemAll } from '../x509/pem.js';
import { describeCertificate, summaryLines } from './ca-describe.js';
import type { InitFile, PathFlag } from './ca-init-files.js';

/** What a ceremony has done. */
export interface Held {
  readonly options: {
    readonly dataDir: string;
    /** By flag; empty for a directory. */
    readonly paths: Readonly<Record<string, string>>;
    readonly rootOnly?: boolean;
    readonly kmsResource?: string;
    readonly pkcs11ConfigPath?: string;
    readonly hsmKeyLabel?: string;
  };
  readonly files: readonly InitFile[];
  /** PEM, own certificate first. */
  readonly chains: readonly string[];
  readonly now: Date;
}

/** What to print after a ceremony: what was made, where it is, and what to do next. */
export function transcript(held: Held): string {
  const parts = [
    `Ceremony of ${held.now.toISOString()}`,
    ...certificatesOf(held.chains).map((lines) => lines.join('\n')),
    filesPart(held),
    nextPart(held),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** Each certificate once, roots first. */
function certificatesOf(chains: readonly string[]): readonly (readonly string[])[] {
  const all = chains.flatMap((chain) => [...decodePemAll(chain, 'CERTIFICATE')].reverse().map(describeCertificate));
  const unique = all.filter((one, i) => all.findIndex(({ fingerprint }) => fingerprint === one.fingerprint) === i);
  return unique.map(summaryLines);
}

function filesPart({ options, files }: Held): string {
  const isDirectory = Object.keys(options.paths).length === 0;
  const width = Math.max(...files.map(({ path }) => path.length));
  const lines = files.map(({ path, what }) => `  ${path.padEnd(width)}  ${what}`);
  return [isDirectory ? `Written to ${resolve(options.dataDir)}:` : 'Written:', ...lines].join('\n');
}

function nextPart(held: Held): string {
  const steps = [compareStep, rootStep, startStep].flatMap((step) => step(held));
  return ['Now:', ...steps.map((step, i) => `  ${i + 1}. ${step.replaceAll('\n', '\n     ')}`)].join('\n');
}

function compareStep(): readonly string[] {
  return ['Have everybody present write down the SHA-256 of the root, or sign a print of this.'];
}

function rootStep(held: Held): readonly string[] {
  const { options, files } = held;
  const hasRootKey = files.some(({ flag }) => flag === 'root-key-out');
  if (!hasRootKey) return [`Keep a copy of ${pathOf(held, 'root-out')}; the key of the root stays where it is.`];
  const place =
    Object.keys(options.paths).length === 0 ? join(options.dataDir, 'offline') : pathOf(held, 'root-key-out');
  return [
    `Move ${place} to where no network reaches it, twice, and its passphrase apart from both copies. The server never\n` +
      'needs it: it signs the next issuing CA, in years.',
  ];
}

function startStep(held: Held): readonly string[] {
  const { rootOnly } = held.options;
  const root = pathOf(held, 'root-out');
  const key = held.files.some(({ flag }) => flag === 'root-key-out') ? `--ca-key ${pathOf(held, 'root-key-out')}` : '';
  if (rootOnly === true) {
    return [
      'On the machine that will issue, or with its HSM or KMS key:\n' +
        'mayfly ca csr --key-out issuing.key.pem --out issuing.csr.pem',
      `Here, with the request:\nmayfly ca sign --csr issuing.csr.pem --ca ${root} ${key} --out issuing.chain.pem`.replaceAll(
        '  ',
        ' ',
      ),
    ];
  }
  const secrets = secretsOf(held);
  const isDirectory = Object.keys(held.options.paths).length === 0;
  const where = isDirectory
    ? ` (elsewhere: copy ${held.options.dataDir} there without offline/, owned by its user)`
    : '';
  const start = `Start the server${where}${secrets.length === 0 ? '' : `, with ${secrets.join(' and ')} set`}`;
  const flags = [...serveFlags(held), '--config-path identity.yaml', '--public-url https://ca.example.com'];
  return [`${start}:\nmayfly serve ${flags.join(' \\\n  ')}`];
}

/** The variables from which the server takes passphrases. */
function secretsOf({ files }: Held): readonly string[] {
  const isEncrypted = (flag: PathFlag): boolean =>
    files.some((file) => file.flag === flag && file.content.includes('ENCRYPTED'));
  return [
    ...(isEncrypted('key-out') ? ['FULCIO_SERVE_FILECA_KEY_PASSWD'] : []),
    ...(isEncrypted('tsa-key-out') ? ['FULCIO_SERVE_TSA_KEY_PASSWORD'] : []),
  ];
}

function serveFlags(held: Held): readonly string[] {
  const { options, files } = held;
  const find = (flag: PathFlag): InitFile | undefined => files.find((file) => file.flag === flag);
  const inPlace = (flag: PathFlag): boolean =>
    Object.keys(options.paths).length === 0 && find(flag)?.path.startsWith('keys/') === true;
  const at = (flag: PathFlag): string => pathOf(held, flag);
  const directory = Object.keys(options.paths).length === 0 ? [`--data-dir ${word(options.dataDir)}`] : [];
  const flags = [...directory, ...(inPlace('chain-out') ? [] : caFlags(held))];
  if (find('tsa-chain-out') === undefined) return flags;
  const tsaFiles = inPlace('tsa-chain-out')
    ? []
    : [`--tsa-key ${at('tsa-key-out')}`, `--tsa-cert-chain ${at('tsa-chain-out')}`];
  return [...flags, '--tsa', ...tsaFiles];
}

function caFlags(held: Held): readonly string[] {
  const { kmsResource, pkcs11ConfigPath, hsmKeyLabel } = held.options;
  const chain = pathOf(held, 'chain-out');
  if (kmsResource !== undefined) {
    return ['--ca kmsca', `--kms-resource ${word(kmsResource)}`, `--kms-cert-chain-path ${chain}`];
  }
  if (hsmKeyLabel !== undefined) {
    const key = [`--pkcs11-config-path ${word(pkcs11ConfigPath ?? '')}`, `--hsm-key-label ${word(hsmKeyLabel)}`];
    return ['--ca pkcs11ca', ...key, `--hsm-cert-chain-path ${chain}`];
  }
  return ['--ca fileca', `--fileca-cert ${chain}`, `--fileca-key ${pathOf(held, 'key-out')}`];
}

/** The path of a file as the next command should name it. */
function pathOf({ options, files }: Held, flag: PathFlag): string {
  const path = files.find((file) => file.flag === flag)?.path ?? '';
  return word(Object.keys(options.paths).length === 0 ? join(options.dataDir, path) : path);
}

/** As a shell takes it for one word. */
function word(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
