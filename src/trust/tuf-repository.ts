import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Metadata, MetadataKind, type Root, type Snapshot, type Targets, type Timestamp } from '@tufjs/models';
import { hasCode, readIfExists, replaceFile, syncPath } from '../ctlog/durable-file.js';
import { AppError, messageOf } from '../errors.js';
import { parseStrictJson } from '../json.js';
import type { TufRole } from './tuf-keys.js';
import { isSignedUnder } from './tuf-metadata.js';
import { sha256Hex, targetFileName } from './tuf-targets.js';

/** A root that is signed, but waits until everything below it is signed by the keys it names. */
const nextRootFile = 'next.root.json';

/** A repository directory as it was found; all of it verified against its own root. */
export interface TufRepository {
  readonly dir: string;
  readonly root: Metadata<Root>;
  readonly nextRoot?: Metadata<Root>;
  /** The newest on disk, which the snapshot may not name yet. */
  readonly targets: Metadata<Targets>;
  /** What clients get now; undefined in a repository that was never published. */
  readonly snapshot?: Metadata<Snapshot>;
  readonly timestamp?: Metadata<Timestamp>;
}

/** Whether a directory holds a repository. */
export async function isTufRepository(dir: string): Promise<boolean> {
  return (await versions(dir, 'root')).length > 0;
}

/**
 * Reads a repository and checks it as a client would, but for expiry: the chain of roots, and every target file.
 * @throws AppError STARTUP naming the file that is missing or wrong.
 */
export async function readTufRepository(dir: string): Promise<TufRepository> {
  const root = await readRoots(dir);
  const nextBytes = await readIfExists(join(dir, nextRootFile));
  const nextRoot = nextBytes && parseMetadata(MetadataKind.Root, join(dir, nextRootFile), nextBytes);
  if (nextRoot !== undefined) checkSuccession(root, nextRoot, join(dir, nextRootFile));
  const roots = nextRoot === undefined ? [root] : [root, nextRoot];

  const targetsVersion = (await versions(dir, 'targets')).at(-1);
  if (targetsVersion === undefined)
    throw new AppError('STARTUP', `${dir} has no targets metadata; restore it from backup`);
  const targetsPath = versionedPath(dir, 'targets', targetsVersion);
  const targets = parseMetadata(MetadataKind.Targets, targetsPath, await mustRead(targetsPath));
  checkSigned(roots, 'targets', targets, targetsPath);
  await checkTargetFiles(dir, targets);

  const timestampPath = join(dir, 'timestamp.json');
  const timestampBytes = await readIfExists(timestampPath);
  const base = { dir, root, ...(nextRoot === undefined ? {} : { nextRoot }), targets };
  if (timestampBytes === undefined) return base;
  const timestamp = parseMetadata(MetadataKind.Timestamp, timestampPath, timestampBytes);
  const snapshotPath = versionedPath(dir, 'snapshot', timestamp.signed.snapshotMeta.version);
  const snapshot = parseMetadata(MetadataKind.Snapshot, snapshotPath, await mustRead(snapshotPath));
  return { ...base, snapshot, timestamp };
}

async function readRoots(dir: string): Promise<Metadata<Root>> {
  const [first, ...later] = await versions(dir, 'root');
  if (first === undefined) {
    throw new AppError(
      'STARTUP',
      `${dir} holds no TUF repository: there is no root metadata. "mayfly trust tuf init" makes one`,
    );
  }
  let root = await readRoot(dir, first);
  checkSigned([root], 'root', root, versionedPath(dir, 'root', first));
  for (const version of later) {
    const next = await readRoot(dir, version);
    checkSuccession(root, next, versionedPath(dir, 'root', version));
    root = next;
  }
  return root;
}

async function readRoot(dir: string, version: number): Promise<Metadata<Root>> {
  const path = versionedPath(dir, 'root', version);
  return parseMetadata(MetadataKind.Root, path, await mustRead(path));
}

/** Section 5.3.4: the next version, signed by the old root's keys and by its own. */
function checkSuccession(root: Metadata<Root>, next: Metadata<Root>, path: string): void {
  const expected = root.signed.version + 1;
  if (next.signed.version !== expected) {
    throw new AppError('STARTUP', `${path} is version ${next.signed.version} of the root; expected ${expected}`);
  }
  for (const by of [root, next]) checkSigned([by], 'root', next, path);
}

function checkSigned(
  roots: readonly Metadata<Root>[],
  role: TufRole,
  metadata: Metadata<Root> | Metadata<Targets>,
  path: string,
): void {
  if (roots.some((root) => isSignedUnder(root, role, metadata))) return;
  throw new AppError('STARTUP', `${path} is not signed by enough of the keys that the root names for ${role}`);
}

async function checkTargetFiles(dir: string, targets: Metadata<Targets>): Promise<void> {
  for (const target of Object.values(targets.signed.targets)) {
    const digest = target.hashes.sha256 ?? '';
    const path = join(dir, 'targets', `${digest}.${target.path}`);
    const bytes = await mustRead(path);
    if (sha256Hex(bytes) !== digest)
      throw new AppError('STARTUP', `${path} is damaged: its SHA-256 is not the one in its name`);
  }
}

type Parsed = {
  root: Metadata<Root>;
  targets: Metadata<Targets>;
  snapshot: Metadata<Snapshot>;
  timestamp: Metadata<Timestamp>;
};

function parseMetadata<K extends MetadataKind>(kind: K, path: string, bytes: Uint8Array): Parsed[K] {
  try {
    const json = parseStrictJson(bytes);
    return readers[kind](json as Parameters<typeof Metadata.fromJSON>[1]);
  } catch (cause) {
    throw new AppError('STARTUP', `${path} is no ${kind} metadata: ${messageOf(cause)}`, { cause });
  }
}

type Json = Parameters<typeof Metadata.fromJSON>[1];
const readers: { readonly [K in MetadataKind]: (json: Json) => Parsed[K] } = {
  root: (json) => Metadata.fromJSON(MetadataKind.Root, json),
  targets: (json) => Metadata.fromJSON(MetadataKind.Targets, json),
  snapshot: (json) => Metadata.fromJSON(MetadataKind.Snapshot, json),
  timestamp: (json) => Metadata.fromJSON(MetadataKind.Timestamp, json),
};

async function mustRead(path: string): Promise<Uint8Array> {
  const bytes = await readIfExists(path);
  if (bytes === undefined)
    throw new AppError('STARTUP', `${path} is missing, and the repository refers to it; restore it from backup`);
  return bytes;
}

/** The versions of a role's files in a directory, in order. */
export async function versions(dir: string, role: TufRole): Promise<readonly number[]> {
  let names: readonly string[];
  try {
    names = await readdir(dir);
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return [];
    throw new AppError('STARTUP', `the TUF repository ${dir} cannot be read: ${messageOf(cause)}`, { cause });
  }
  const found = names.flatMap((name) => new RegExp(`^([1-9]\\d{0,8})\\.${role}\\.json$`).exec(name)?.[1] ?? []);
  return found.map(Number).sort((a, b) => a - b);
}

function versionedPath(dir: string, role: TufRole, version: number): string {
  return join(dir, `${version}.${role}.json`);
}

/** Public whatever the umask: nginx and the clients read these. */
const publicFile = { mode: 0o644, chmod: true, sync: true } as const;

async function writeFile(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await replaceFile(path, `${path}.tmp`, bytes, publicFile);
    await syncPath(dirname(path));
  } catch (cause) {
    throw new AppError('STARTUP', `${path} cannot be written: ${messageOf(cause)}`, { cause });
  }
}

function encode(metadata: { toJSON(): unknown }): Uint8Array {
  return Buffer.from(`${JSON.stringify(metadata.toJSON(), null, 2)}\n`);
}

/** Writes metadata under its version, in one step and durably; a reader finds it once the role above names it. */
export async function writeVersioned(
  dir: string,
  role: TufRole,
  metadata: Metadata<Root> | Metadata<Targets> | Metadata<Snapshot>,
): Promise<void> {
  await writeFile(versionedPath(dir, role, metadata.signed.version), encode(metadata));
}

/** Replaces timestamp.json: the moment at which readers see everything written before. */
export async function writeTimestamp(dir: string, timestamp: Metadata<Timestamp>): Promise<void> {
  await writeFile(join(dir, 'timestamp.json'), encode(timestamp));
}

/** Puts a root beside the repository, to be published by `publishRoot`. */
export async function writeNextRoot(dir: string, root: Metadata<Root>): Promise<void> {
  await writeFile(join(dir, nextRootFile), encode(root));
}

/** Publishes a root: under its version for clients that know an earlier one, and as root.json for new ones. */
export async function publishRoot(dir: string, root: Metadata<Root>): Promise<void> {
  await writeVersioned(dir, 'root', root);
  await writeFile(join(dir, 'root.json'), encode(root));
}

/** The file of a target, which no metadata names yet. */
export async function writeTarget(dir: string, name: string, bytes: Uint8Array): Promise<void> {
  await writeFile(join(dir, 'targets', targetFileName(name, bytes)), bytes);
}

/** Where a waiting root lies. */
export function nextRootPath(dir: string): string {
  return join(dir, nextRootFile);
}
