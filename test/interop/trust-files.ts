import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import type { TrustFiles } from './cosign.js';

type JsonObject = Readonly<Record<string, unknown>>;

// Merged as plain JSON: a client must see Mayfly's part exactly as Mayfly wrote it.
async function readJson(path: string): Promise<JsonObject> {
  const value: unknown = JSON.parse(await readFile(path, 'utf8'));
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`${path} holds no JSON object`);
  return { ...value };
}

/** The object with the named fields of another one, where that has them. */
function withFieldsOf(object: JsonObject, other: JsonObject, names: readonly string[]): JsonObject {
  return { ...object, ...Object.fromEntries(names.filter((name) => name in other).map((name) => [name, other[name]])) };
}

/** Reads a trusted root. */
export async function readTrustedRoot(path: string): Promise<TrustedRoot> {
  return TrustedRoot.fromJSON(await readJson(path));
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
  const root = await readJson(own.trustedRoot);
  const otherRoot = await readJson(other.trustedRoot);
  const signing = await readJson(own.signingConfig);
  const otherSigning = await readJson(other.signingConfig);
  const rootFields = ['timestampAuthorities', 'tlogs'];
  const signingFields = ['tsaUrls', 'tsaConfig', 'rekorTlogUrls', 'rekorTlogConfig'];
  await writeFile(files.trustedRoot, JSON.stringify(withFieldsOf(root, otherRoot, rootFields)));
  await writeFile(files.signingConfig, JSON.stringify(withFieldsOf(signing, otherSigning, signingFields)));
  return files;
}

/** Writes both files as the one file that sigstore-python takes; gives its path. */
export async function writeClientTrustConfig(dir: string, files: TrustFiles): Promise<string> {
  const path = join(dir, 'client_trust_config.json');
  const config = {
    mediaType: 'application/vnd.dev.sigstore.clienttrustconfig.v0.1+json',
    trustedRoot: await readJson(files.trustedRoot),
    signingConfig: await readJson(files.signingConfig),
  };
  await writeFile(path, JSON.stringify(config));
  return path;
}
