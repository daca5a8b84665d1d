import type { KeyObject } from 'node:crypto';
import { type Command, Option } from 'commander';
import { openFileSigner } from '../ca/file-signer.js';
import { readPrivateFile } from '../ca/private-file.js';
import { checkProfile, type Finding } from '../ca/profile-check.js';
import type { ChainPurpose } from '../ca/profile-rules.js';
import { AppError } from '../errors.js';
import { importSpki } from '../proof/key.js';
import { parseCertificate } from '../x509/certificate.js';
import { describeName } from '../x509/name.js';
import { decodePemAll } from '../x509/pem.js';
import { openKeyFile } from './ca-keys.js';
import { type FoundChain, findChains } from './ca-places.js';
import { type CaIo, terminalIo } from './ca-terminal.js';
import { offlineOptions } from './log-options.js';

const help = `
Checks chains against the profile in docs/keys.md and against what the verifiers of Fulcio, cosign and the other clients
demand, and lists everything that is wrong. PLACE is a PEM chain (issuing CA or timestamp authority first, root last), a data
directory or the offline/ directory of a ceremony; without it, the data directory of serve. In a directory the keys beside
the chains are compared with them; retired CAs are passed over.

Exit code 0: no errors (there may be warnings); 1: errors, or nothing there to check.
`;

export interface VerifyOptions {
  readonly key?: string | undefined;
  readonly passphraseFile?: string | undefined;
  readonly for?: 'issuing' | 'timestamping' | undefined;
  readonly json?: boolean | undefined;
}

/** `mayfly ca verify`: the profile check. */
export function registerCaVerify(ca: Command, done: (code: number) => void): void {
  const command = ca
    .command('verify')
    .description('check chains against the profile and list everything that is wrong');
  command
    .argument('[place]', 'file or directory')
    .option('--key <file>', 'PEM private key that the first certificate should be for')
    .option('--passphrase-file <file>', 'its passphrase (or MAYFLY_PASSPHRASE)')
    .addOption(
      new Option('--for <role>', 'what the chain is for (default: as its first certificate says)').choices([
        'issuing',
        'timestamping',
      ]),
    )
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async (place: string | undefined, options: VerifyOptions) => {
      const where = place ?? offlineOptions(command, ['data-dir'], process.env).dataDir;
      done(await verifyCommand(where, options, terminalIo()));
    });
}

/** Prints what is wrong with the chains in a file or directory; 1 when anything is. Throws AppError STARTUP for no chain. */
export async function verifyCommand(place: string, options: VerifyOptions, io: CaIo): Promise<0 | 1> {
  const chains = (await findChains(place)).filter(({ isRetired }) => isRetired !== true);
  const [only] = chains;
  if (options.key !== undefined && (only === undefined || chains.length > 1)) {
    throw new AppError('STARTUP', `--key belongs to one chain, and ${place} holds ${chains.length}`);
  }
  const checked = [];
  for (const chain of chains) checked.push({ ...chain, findings: await checkChain(chain, options, io) });
  const ok = checked.every(({ findings }) => findings.every(({ level }) => level !== 'error'));
  io.out(options.json === true ? jsonOf(ok, checked) : textOf(checked));
  return ok ? 0 : 1;
}

const purposes: Readonly<Record<'issuing' | 'timestamping', ChainPurpose>> = {
  issuing: 'codeSigning',
  timestamping: 'timeStamping',
};

async function checkChain(chain: FoundChain, options: VerifyOptions, io: CaIo): Promise<readonly Finding[]> {
  const purpose = options.for === undefined ? undefined : purposes[options.for];
  const now = io.now().getTime();
  const { publicKey, problems } = await keyOf(chain, options, io);
  const findings = checkProfile(chain.pem, { purpose, publicKey, now });
  const isReadable = findings.every(({ rule }) => rule !== 'malformed');
  const weak = isReadable ? await weakKeys(chain.pem) : [];
  // A key of a kind that no CA may have is weak besides, and said to be wrong already.
  const news = weak.filter(
    (one) =>
      !findings.some(
        ({ level, rule, certificate }) => level === 'error' && rule === 'key' && certificate === one.certificate,
      ),
  );
  return [...problems, ...findings, ...news];
}

interface KeyCheck {
  readonly publicKey: KeyObject | undefined;
  readonly problems: readonly Finding[];
}

/** The public half of the key that --key names or that lies beside the chain. */
async function keyOf({ keyPath }: FoundChain, options: VerifyOptions, io: CaIo): Promise<KeyCheck> {
  if (options.key !== undefined) {
    const place = {
      what: 'the key',
      flag: '--passphrase-file',
      file: options.passphraseFile,
      variable: 'MAYFLY_PASSPHRASE',
    };
    return { publicKey: (await openKeyFile(options.key, place, io)).publicKey, problems: [] };
  }
  if (keyPath === undefined) return { publicKey: undefined, problems: [] };
  const found = (level: Finding['level'], message: string): KeyCheck => ({
    publicKey: undefined,
    problems: [{ level, rule: 'key-file', message }],
  });
  try {
    const pem = await readPrivateFile(keyPath);
    if (pem.includes('ENCRYPTED'))
      return found('warning', `${keyPath} is encrypted and was not checked; name it with --key`);
    return { publicKey: openFileSigner(pem).publicKey, problems: [] };
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause;
    return found('error', cause.detail.includes(keyPath) ? cause.detail : `${keyPath}: ${cause.detail}`);
  }
}

/** Keys of the right kind that can be broken all the same: close primes, flawed generators. */
async function weakKeys(pem: string): Promise<readonly Finding[]> {
  const certificates = decodePemAll(pem, 'CERTIFICATE').map(parseCertificate);
  const found: Finding[] = [];
  for (const [index, { spki, subject }] of certificates.entries()) {
    try {
      await importSpki(spki);
    } catch (cause) {
      if (!(cause instanceof AppError)) throw cause;
      const title = `certificate ${index + 1} of ${certificates.length} (${describeName(subject)})`;
      found.push({ level: 'error', rule: 'weak-key', certificate: index + 1, message: `${title}: ${cause.detail}` });
    }
  }
  return found;
}

type Checked = FoundChain & { readonly findings: readonly Finding[] };

function jsonOf(ok: boolean, chains: readonly Checked[]): string {
  const rows = chains.map(({ title, path, findings }) => ({ title, path, findings }));
  return `${JSON.stringify({ ok, chains: rows }, null, 2)}\n`;
}

const marks: Readonly<Record<Finding['level'], string>> = { error: 'ERROR  ', warning: 'warning' };

function textOf(chains: readonly Checked[]): string {
  const lines = chains.flatMap(({ title, path, findings }) => [
    `${title}  (${path})`,
    ...(findings.length === 0 ? ['  ok'] : findings.map(({ level, message }) => `  ${marks[level]}  ${message}`)),
  ]);
  const all = chains.flatMap(({ findings }) => findings);
  const errors = all.filter(({ level }) => level === 'error').length;
  return `${lines.join('\n')}\n\n${count(errors, 'error')}, ${count(all.length - errors, 'warning')}\n`;
}

function count(number: number, what: string): string {
  return `${number === 0 ? 'no' : number} ${what}${number === 1 ? '' : 's'}`;
}
