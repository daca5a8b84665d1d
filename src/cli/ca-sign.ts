import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { checkUnused, writeFiles } from '../ca/ceremony-files.js';
import { planSigning, type SigningPlan, signPlanned } from '../ca/ceremony-sign.js';
import { readCsr } from '../ca/csr.js';
import { AppError, messageOf } from '../errors.js';
import { importSpki } from '../proof/key.js';
import { decodePem } from '../x509/pem.js';
import { describeCertificate, summaryLines } from './ca-describe.js';
import { isRemote, type KeyFlags, lifetimeFlag, openKey } from './ca-keys.js';
import { requestLines } from './ca-request.js';
import { type CaIo, terminalIo } from './ca-terminal.js';

const help = `
Checks the request (its signature, its key, what it asks for), shows it together with what would be signed, and asks before
it signs; --yes answers for you. The profile is Mayfly's, whatever the request asks for. Compare the SHA-256 of the key with
what the requester read out to you: the request alone does not say who made it.

The chain that is written goes back to the requester: "mayfly ca add --chain … --key …", or serve's own flags.
`;

export interface SignOptions {
  readonly csr: string;
  readonly ca: string;
  readonly caKey?: string | undefined;
  readonly caKmsResource?: string | undefined;
  readonly pkcs11ConfigPath?: string | undefined;
  readonly caHsmKeyLabel?: string | undefined;
  readonly passphraseFile?: string | undefined;
  readonly for: 'issuing' | 'timestamping';
  readonly lifetime?: string | undefined;
  readonly pathLength: string;
  readonly yes?: boolean | undefined;
  readonly out: string;
}

/** `mayfly ca sign`: a parent signs a certification request. */
export function registerCaSign(ca: Command, done: (code: number) => void): void {
  ca.command('sign')
    .description('have a parent sign a certification request, after showing it')
    .requiredOption('--csr <file>', 'the request (PKCS#10, PEM)')
    .requiredOption('--ca <file>', "PEM certificate of the parent, followed by those above it if it isn't a root")
    .requiredOption('--out <file>', 'where to write the chain')
    .option('--ca-key <file>', 'PEM private key of the parent')
    .option('--ca-kms-resource <uri>', "the parent's key is in a KMS")
    .option('--pkcs11-config-path <file>', "PKCS#11 configuration in crypto11's JSON form")
    .option('--ca-hsm-key-label <label>', "the parent's key is in that HSM, with this CKA_LABEL")
    .option('--passphrase-file <file>', "passphrase of the parent's key (or MAYFLY_ROOT_PASSPHRASE)")
    .addOption(new Option('--for <role>', 'what it is for').choices(['issuing', 'timestamping']).default('issuing'))
    .option('--lifetime <time>', 'such as 5y; not longer than the parent lives (default: 5y, or as long as that)')
    .option('--path-length <number>', 'CA certificates allowed below an issuing CA', '0')
    .option('--yes', 'sign without asking')
    .addHelpText('after', help)
    .action(async (options: SignOptions) => done(await signCommand(options, terminalIo())));
}

/** Signs and prints what was signed; 1 when the answer was no. Throws AppError STARTUP; then nothing was signed. */
export async function signCommand(options: SignOptions, io: CaIo): Promise<0 | 1> {
  checkUnused([options.out]);
  const plan = await planOf(options, io);
  io.out(`${planText(plan)}\n`);
  if (options.yes !== true && !(await isConfirmed(io))) {
    io.err('Nothing was signed.\n');
    return 1;
  }
  const signer = await openKey(parentKey(options), passphrasePlace(options), io);
  if (signer === undefined) throw missingKey();
  try {
    const chain = await signPlanned(plan, signer, randomBytes);
    await writeFiles([{ path: options.out, content: chain, isPrivate: false }], randomBytes(4).toString('hex'));
    const made = describeCertificate(decodePem(chain, ['CERTIFICATE']).der);
    io.out(['Signed:', ...summaryLines(made).map((line) => `  ${line}`), '', `Written: ${options.out}`, ''].join('\n'));
    return 0;
  } finally {
    await signer.close();
  }
}

async function planOf(options: SignOptions, io: CaIo): Promise<SigningPlan> {
  const key = parentKey(options);
  if (key.key === undefined && !isRemote(key)) throw missingKey();
  const request = await about(options.csr, async () => {
    const read = readCsr(await readText('--csr', options.csr));
    await importSpki(read.spki);
    return read;
  });
  return planSigning({
    request,
    parentChain: await readText('--ca', options.ca),
    role: options.for,
    pathLength: pathLengthFlag(options.pathLength),
    lifetimeDays: options.lifetime === undefined ? undefined : lifetimeFlag('--lifetime', options.lifetime),
    now: io.now().getTime(),
  });
}

function parentKey({ caKey, caKmsResource, caHsmKeyLabel, pkcs11ConfigPath }: SignOptions): KeyFlags {
  return { key: caKey, kmsResource: caKmsResource, hsmKeyLabel: caHsmKeyLabel, pkcs11ConfigPath, prefix: 'ca-' };
}

function passphrasePlace({ passphraseFile }: SignOptions) {
  const flag = '--passphrase-file';
  return { what: "the parent's key", flag, file: passphraseFile, variable: 'MAYFLY_ROOT_PASSPHRASE' };
}

function missingKey(): AppError {
  return new AppError('STARTUP', "say where the parent's key is: --ca-key, --ca-kms-resource or --ca-hsm-key-label");
}

function planText({ request, parent, role, pathLength, notBefore, notAfter }: SigningPlan): string {
  const profile =
    role === 'issuing'
      ? `issuing CA: CA:TRUE, pathlen ${pathLength}, keyCertSign, cRLSign, codeSigning`
      : 'timestamp authority: digitalSignature, timeStamping (critical)';
  return [
    'The request',
    ...requestLines(request).map((line) => `  ${line}`),
    '',
    'What would be signed',
    `  profile      ${profile}`,
    `  valid        ${notBefore.toISOString()} to ${notAfter.toISOString()}`,
    `  by           ${parent.title}`,
    '',
  ].join('\n');
}

async function isConfirmed(io: CaIo): Promise<boolean> {
  if (io.ask === undefined) {
    throw new AppError('STARTUP', 'standard input is no terminal to ask at; give --yes to sign what is shown above');
  }
  const answer = await io.ask(
    'Is the SHA-256 of the key what the requester told you, and shall it be signed? [y/N] ',
    'plain',
  );
  return /^y(es)?$/i.test(answer.trim());
}

function pathLengthFlag(text: string): number {
  if (/^\d$/.test(text)) return Number(text);
  throw new AppError('STARTUP', `--path-length is "${text}"; expected 0 to 9`);
}

async function readText(flag: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new AppError('STARTUP', `${flag}: cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** Puts the file's name before what is wrong with it. */
async function about<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause;
    throw new AppError(cause.code, `${path}: ${cause.detail}`, { cause });
  }
}
