import type { CertificateAuthority } from '../ca/authority.js';
import type { DataDirectory } from '../ca/data-directory.js';
import { createEphemeralCa } from '../ca/ephemeral.js';
import { openFileSigner } from '../ca/file-signer.js';
import type { CaChoice, ServeConfig } from '../config/serve.js';
import { dataDirectoryPlace, externalPlace } from './ca-place.js';
import { type CaSource, type CaSourceDeps, openCaSource } from './ca-source.js';
import { loadChainFile, naming, readFlagFile } from './flag-files.js';
import { type KmsCaDeps, openKmsCa } from './open-kms-ca.js';
import { openPkcs11 } from './open-remote-ca.js';

/** The CAs of the settings, opened, recorded and watched; throws AppError STARTUP naming the flag and the file that is wrong. */
export async function openCas(
  config: ServeConfig,
  data: DataDirectory,
  deps: CaSourceDeps & KmsCaDeps,
): Promise<CaSource> {
  const { ca: choice, certificateLifetimeMs: lifetimeMs } = config;
  const { clock } = deps;
  if (choice.kind === 'data-directory') {
    return openCaSource(await dataDirectoryPlace(data, { clock, lifetimeMs }), deps);
  }
  // Nobody needs to know tomorrow what an ephemeral CA signed.
  const directory = choice.kind === 'ephemeral' ? undefined : data.path;
  const external = { open: () => openCa(choice, deps), ...watchedFiles(choice) };
  return openCaSource(externalPlace(directory, external, { clock, lifetimeMs }), deps);
}

type ExternalChoice = Exclude<CaChoice, { kind: 'data-directory' }>;

/** Opens the CA that the flags name; throws AppError STARTUP naming the flag and the file that is wrong. */
async function openCa(choice: ExternalChoice, deps: KmsCaDeps): Promise<CertificateAuthority> {
  if (choice.kind === 'ephemeral') return createEphemeralCa(deps.clock);
  if (choice.kind === 'pkcs11') return openPkcs11(choice, deps);
  if (choice.kind === 'kms') return openKmsCa(choice, deps);
  return openFileCa(choice, deps.clock);
}

/** The files that the flags name: when one is replaced, the CA is opened again. */
function watchedFiles(choice: ExternalChoice): { readonly files: readonly string[]; readonly watch: boolean } {
  if (choice.kind === 'ephemeral') return { files: [], watch: false };
  if (choice.kind === 'pkcs11') {
    const { certificate } = choice;
    return { files: certificate.in === 'file' ? [certificate.path] : [], watch: true };
  }
  if (choice.kind === 'kms') return { files: [choice.chainPath], watch: true };
  return { files: [choice.certPath, choice.keyPath], watch: choice.watch };
}

function openFileCa(choice: Extract<CaChoice, { kind: 'file' }>, clock: () => number): CertificateAuthority {
  const key = readFlagFile('--fileca-key', choice.keyPath);
  const signer = naming(`--fileca-key ${choice.keyPath}`, () => openFileSigner(key, choice.password));
  return loadChainFile({ flag: '--fileca-cert', path: choice.certPath }, signer, clock);
}
