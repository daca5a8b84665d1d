import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import type { CertificateAuthority } from '../ca/authority.js';
import { loadChain } from '../ca/chain.js';
import type { DataDirectory } from '../ca/data-directory.js';
import { createEphemeralCa } from '../ca/ephemeral.js';
import { openFileSigner } from '../ca/file-signer.js';
import type { CaChoice, ServeConfig } from '../config/serve.js';
import { AppError, messageOf } from '../errors.js';
import { dataDirectoryPlace, externalPlace } from './ca-place.js';
import { type CaSource, type CaSourceDeps, openCaSource } from './ca-source.js';

/** The CAs of the settings, opened, recorded and watched; throws AppError STARTUP naming the flag and the file that is wrong. */
export async function openCas(config: ServeConfig, data: DataDirectory, deps: CaSourceDeps): Promise<CaSource> {
  const { ca: choice, certificateLifetimeMs: lifetimeMs } = config;
  const { clock } = deps;
  if (choice.kind === 'data-directory') {
    return openCaSource(await dataDirectoryPlace(data, { clock, lifetimeMs }), deps);
  }
  // Nobody needs to know tomorrow what an ephemeral CA signed.
  const directory = choice.kind === 'ephemeral' ? undefined : data.path;
  const external = { open: () => openCa(choice, clock), ...watchedFiles(choice) };
  return openCaSource(externalPlace(directory, external, { clock, lifetimeMs }), deps);
}

type ExternalChoice = Exclude<CaChoice, { kind: 'data-directory' }>;

/** Opens the CA that the flags name; throws AppError STARTUP naming the flag and the file that is wrong. */
async function openCa(choice: ExternalChoice, clock: () => number): Promise<CertificateAuthority> {
  if (choice.kind === 'ephemeral') return createEphemeralCa(clock);
  return openFileCa(choice, clock);
}

/** The files that the flags name: when one is replaced, the CA is opened again. */
function watchedFiles(choice: ExternalChoice): { readonly files: readonly string[]; readonly watch: boolean } {
  if (choice.kind === 'ephemeral') return { files: [], watch: false };
  return { files: [choice.certPath, choice.keyPath], watch: choice.watch };
}

function openFileCa(choice: Extract<CaChoice, { kind: 'file' }>, clock: () => number): CertificateAuthority {
  const key = readFlagFile('--fileca-key', choice.keyPath);
  const signer = naming(`--fileca-key ${choice.keyPath}`, () => openFileSigner(key, choice.password));
  return withChain({ flag: '--fileca-cert', path: choice.certPath }, signer, clock);
}

async function openPkcs11(
  choice: Pkcs11CaChoice,
  deps: Parameters<typeof openPkcs11Ca>[1],
): Promise<CertificateAuthority> {
  const { certificate } = choice;
  if (certificate.in === 'token') return openPkcs11Ca({ ...choice, certificateId: certificate.id }, deps);
  const signer = await openPkcs11Signer(choice, deps);
  try {
    return withChain(certificate, signer, deps.clock);
  } catch (error) {
    await signer.close();
    throw error;
  }
}

/** The CA of `signer` with the PEM chain in the file that a flag names. */
function withChain(file: { flag: string; path: string }, signer: Signer, clock: () => number): CertificateAuthority {
  const chain = readFlagFile(file.flag, file.path);
  return naming(`${file.flag} ${file.path}`, () => loadChain(chain, signer, clock()));
}

/** One line for each turn in the life of a key that is elsewhere. */
function logChange(logger: Logger, change: RecoveryChange): void {
  if (change.to === 'up') logger.info('the key of the certificate authority signs again');
  else if (change.to === 'down') {
    logger.error({ reason: change.reason }, 'the key of the certificate authority cannot sign; trying again by itself');
  } else
    logger.warn(
      { reason: change.reason },
      'a call to the key of the certificate authority failed; looking whether it can sign',
    );
}

/** Runs `open` and puts flag and file before what it complains about. */
function naming<T>(where: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new AppError('STARTUP', `${where}: ${error.detail}`, { cause: error });
  }
}

/** The text of a file a flag names; throws AppError STARTUP with both names. */
export function readFlagFile(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new AppError('STARTUP', `${flag}: cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}
