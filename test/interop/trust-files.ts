import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ClientTrustConfig, SigningConfig, TrustedRoot } from '@sigstore/protobuf-specs';
import type { TrustFiles } from './cosign.js';

async function readJson(path: string): Promise<unknown> {
  return JSON.parse(await readFile(path, 'utf8'));
}

/** Reads a trusted root. */
export async function readTrustedRoot(path: string): Promise<TrustedRoot> {
  return TrustedRoot.fromJSON(await readJson(path));
}

/** Reads a signing config. */
export async function readSigningConfig(path: string): Promise<SigningConfig> {
  return SigningConfig.fromJSON(await readJson(path));
}

/** The two files that Mayfly wrote. */
export function ownTrustFiles(trustDir: string): TrustFiles {
  return { trustedRoot: join(trustDir, 'trusted_root.json'), signingConfig: join(trustDir, 'signing_config.json') };
}

/**
 * Copies Mayfly's own files into `dir`, with the timestamp authorities and Rekor logs of other files added: what an
 * operator does who runs those services beside it. Everything about certificates stays as Mayfly wrote it.
 */
export async function withServicesOf(dir: string, own: TrustFiles, other: TrustFiles): Promise<TrustFiles> {
  const files = {
    trustedRoot: join(dir, 'own.trusted_root.json'),
    signingConfig: join(dir, 'own.signing_config.json'),
  };
  const root = await readTrustedRoot(own.trustedRoot);
  const { timestampAuthorities, tlogs } = await readTrustedRoot(other.trustedRoot);
  const signing = await readSigningConfig(own.signingConfig);
  const { tsaUrls, tsaConfig, rekorTlogUrls, rekorTlogConfig } = await readSigningConfig(other.signingConfig);
  await writeFile(files.trustedRoot, JSON.stringify(TrustedRoot.toJSON({ ...root, timestampAuthorities, tlogs })));
  const services = { tsaUrls, tsaConfig, rekorTlogUrls, rekorTlogConfig };
  await writeFile(files.signingConfig, JSON.stringify(SigningConfig.toJSON({ ...signing, ...services })));
  return files;
}

/** Writes both files as the one file that sigstore-python takes; gives its path. */
export async function writeClientTrustConfig(dir: string, files: TrustFiles): Promise<string> {
  const path = join(dir, 'client_trust_config.json');
  const config = ClientTrustConfig.toJSON({
    mediaType: 'application/vnd.dev.sigstore.clienttrustconfig.v0.1+json',
    trustedRoot: await readTrustedRoot(files.trustedRoot),
    signingConfig: await readSigningConfig(files.signingConfig),
  });
  await writeFile(path, JSON.stringify(config));
  return path;
}
