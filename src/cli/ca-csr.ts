import { randomBytes } from 'node:crypto';
import { type Command, Option } from 'commander';
import { type CeremonyFile, checkUnused, writeFiles } from '../ca/ceremony-files.js';
import { encryptedPem, generateKey, newKeyKinds, plainPem } from '../ca/ceremony-key.js';
import { encodeCsr } from '../ca/csr.js';
import { createKeySigner } from '../ca/file-signer.js';
import { profileExtensions } from '../ca/profile.js';
import { kindOf } from '../ca/signature-algorithm.js';
import type { Signer } from '../ca/signer.js';
import { AppError } from '../errors.js';
import { encodeName } from '../x509/name.js';
import { keyFingerprint } from './ca-describe.js';
import { type KeyFlags, keyKindFlag, nameFlag, openKey, timestampKeyKinds } from './ca-keys.js';
import { givenPassphrase, type PassphrasePlace } from './ca-passphrase.js';
import { type CaIo, terminalIo } from './ca-terminal.js';

const help = `
For an issuing CA (or, with --for timestamping, a timestamp authority) whose parent is elsewhere: your own offline root, or
your company's CA. The key is a new one (--key-out), one in a file (--key), in a KMS or in an HSM; it never leaves its
place, only the request goes to the parent, where "mayfly ca sign" or any other CA's software signs it.

A company's CA must give the certificate this profile, or clients refuse what it issues: critical basicConstraints CA:TRUE
with pathlen 0, critical keyUsage keyCertSign and cRLSign, extendedKeyUsage codeSigning. The request asks for it;
"mayfly ca verify" says whether it came out so.

A passphrase in --passphrase-file or MAYFLY_PASSPHRASE opens the key in --key, or encrypts the new one.
`;

export interface CsrOptions extends KeyFlags {
  readonly for: 'issuing' | 'timestamping';
  readonly organization: string;
  readonly name?: string | undefined;
  readonly keyType: string;
  readonly keyOut?: string | undefined;
  readonly passphraseFile?: string | undefined;
  readonly out: string;
}

/** Where nobody says otherwise. */
export const csrDefaults = { for: 'issuing', organization: 'mayfly', keyType: 'P-256' } as const;

/** `mayfly ca csr`: a certification request for a parent that is elsewhere. */
export function registerCaCsr(ca: Command, done: (code: number) => void): void {
  ca.command('csr')
    .description('make a certification request for a parent that is elsewhere, with a new key or one in a KMS or HSM')
    .requiredOption('--out <file>', 'where to write the request (PKCS#10, PEM)')
    .option('--key-out <file>', 'make a new key and write it here')
    .option('--key-type <kind>', `kind of the new key: ${newKeyKinds.join(', ')}`, csrDefaults.keyType)
    .option('--key <file>', 'use this PEM private key')
    .option('--kms-resource <uri>', 'use a key in a KMS: awskms:// gcpkms:// azurekms:// hashivault://')
    .option('--pkcs11-config-path <file>', "PKCS#11 configuration in crypto11's JSON form")
    .option('--hsm-key-label <label>', 'use the key with this CKA_LABEL in that HSM')
    .option('--passphrase-file <file>', 'passphrase of the key in --key, or for the new one')
    .option('--organization <name>', 'O of the subject', csrDefaults.organization)
    .option('--name <name>', 'CN of the subject (default: "ORGANIZATION issuing CA ID")')
    .addOption(
      new Option('--for <role>', 'what it is for').choices(['issuing', 'timestamping']).default(csrDefaults.for),
    )
    .addHelpText('after', help)
    .action(async (options: CsrOptions) => {
      await csrCommand(options, terminalIo());
      done(0);
    });
}

/** Writes key and request and prints what to do with them. Throws AppError STARTUP; then nothing was written. */
export async function csrCommand(options: CsrOptions, io: CaIo): Promise<void> {
  const { keyOut, out } = options;
  const id = randomBytes(4).toString('hex');
  const organization = nameFlag('--organization', options.organization);
  const role = options.for === 'issuing' ? 'issuing CA' : 'timestamp authority';
  const commonName = nameFlag('--name', options.name ?? `${organization} ${role} ${id}`);
  checkUnused(keyOut === undefined ? [out] : [keyOut, out]);
  const { signer, keyFile } = await keyOf(options, io);
  try {
    const subject = encodeName({ organization, commonName });
    const request = await encodeCsr(signer, subject, profileExtensions(options.for));
    // The key first: a request whose key was lost would look whole.
    await writeFiles([...keyFile, { path: out, content: request, isPrivate: false }], id);
    io.out(report(options, `CN=${commonName}, O=${organization}`, signer));
  } finally {
    await signer.close();
  }
}

async function keyOf(
  options: CsrOptions,
  io: CaIo,
): Promise<{ readonly signer: Signer; readonly keyFile: readonly CeremonyFile[] }> {
  const place: PassphrasePlace = {
    what: 'the key',
    flag: '--passphrase-file',
    file: options.passphraseFile,
    variable: 'MAYFLY_PASSPHRASE',
  };
  const existing = await openKey(options, place, io);
  const { keyOut } = options;
  if ((existing === undefined) === (keyOut === undefined)) {
    await existing?.close();
    throw new AppError(
      'STARTUP',
      'say which key it is for: --key-out for a new one, or one of --key, --kms-resource and --hsm-key-label',
    );
  }
  if (existing !== undefined) return { signer: existing, keyFile: [] };
  const kinds = options.for === 'timestamping' ? timestampKeyKinds : newKeyKinds;
  const key = await generateKey(keyKindFlag('--key-type', options.keyType, kinds));
  const passphrase = await givenPassphrase(place, io);
  const content = passphrase === undefined ? plainPem(key) : await encryptedPem(key, passphrase, randomBytes);
  return { signer: createKeySigner(key), keyFile: [{ path: keyOut ?? '', content, isPrivate: true }] };
}

function report(options: CsrOptions, subject: string, { publicKey }: Signer): string {
  const { out, keyOut } = options;
  const forFlag = options.for === 'issuing' ? '' : ' --for timestamping';
  return [
    `subject  ${subject}`,
    `key      ${kindOf(publicKey)}, SHA-256 ${keyFingerprint(publicKey)}`,
    '',
    'Written:',
    ...(keyOut === undefined ? [] : [`  ${keyOut}  the private key; it stays here`]),
    `  ${out}  the request`,
    '',
    `Now take ${out} to the parent and read the SHA-256 of the key out to whoever signs. With mayfly there:`,
    `  mayfly ca sign --csr ${out} --ca root.pem --ca-key root.key.pem${forFlag} --out chain.pem`,
    `Bring the chain back and check it: mayfly ca verify chain.pem${keyOut === undefined ? '' : ` --key ${keyOut}`}`,
    '',
  ].join('\n');
}
