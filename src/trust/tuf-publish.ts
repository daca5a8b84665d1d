import { rm } from 'node:fs/promises';
import type { Metadata, Root, Snapshot, Timestamp } from '@tufjs/models';
import { AppError } from '../errors.js';
import { findTufKeys, type StoredKey, type TufRole, tufKeyFile } from './tuf-keys.js';
import {
  defaultLifetimeDays,
  isHalfway,
  isSignedUnder,
  type Lifetimes,
  lifetimeDaysOf,
  roleKeysOf,
  signMetadata,
  snapshotMetadata,
  timestampMetadata,
} from './tuf-metadata.js';
import {
  nextRootPath,
  publishRoot,
  readTufRepository,
  type TufRepository,
  versions,
  writeTimestamp,
  writeVersioned,
} from './tuf-repository.js';

export interface PublishOptions {
  readonly dir: string;
  /** Where the keys of snapshot and timestamp lie, not encrypted. */
  readonly keysDir: string;
  readonly now: Date;
  /** For the first publication; later ones keep what is there. */
  readonly lifetimes?: Lifetimes;
}

/** What a publication wrote, in order, such as "snapshot 3". */
export type Published = readonly string[];

/**
 * Publishes what is ready: signs snapshot and timestamp again when there are newer targets, when half of their life is
 * over or when a waiting root names other keys, and then publishes that root. A reader sees the repository before or
 * after, and with either of two roots: what is signed while a root waits carries signatures for both.
 * @returns nothing written when nothing was due.
 * @throws AppError STARTUP when the repository is damaged or a key is not there.
 */
export async function publishTuf(options: PublishOptions): Promise<Published> {
  const { dir } = options;
  const repository = await readTufRepository(dir);
  const { nextRoot } = repository;
  if (nextRoot === undefined) return publishUnder(options, repository);
  if (!isSignedUnder(nextRoot, 'targets', repository.targets)) {
    // Whoever has the root in force is served on meanwhile.
    const { nextRoot: _waiting, ...inForce } = repository;
    if (await canSignUnder(inForce.root, inForce, options.keysDir)) await publishUnder(options, inForce);
    const version = repository.targets.signed.version;
    throw new AppError(
      'STARTUP',
      `the root that waits in ${dir} cannot be published: ${version}.targets.json is not signed by the targets keys it ` +
        'names; sign it with them: mayfly trust tuf update --force',
    );
  }
  // With the old key lost, the new root has to go first: its readers are the only ones who can be served.
  if (!(await canSignUnder(repository.root, repository, options.keysDir))) {
    await finishRoot(dir, nextRoot);
    const { root: _old, nextRoot: _next, ...rest } = repository;
    return [`root ${nextRoot.signed.version}`, ...(await publishUnder(options, { ...rest, root: nextRoot }))];
  }
  const written = await publishUnder(options, repository);
  await finishRoot(dir, nextRoot);
  return [...written, `root ${nextRoot.signed.version}`];
}

/** Whether the online keys are here that the root in force, or the one that waits, asks for. */
export async function canPublish({ dir, keysDir }: Pick<PublishOptions, 'dir' | 'keysDir'>): Promise<boolean> {
  const repository = await readTufRepository(dir);
  return canSignUnder(repository.nextRoot ?? repository.root, repository, keysDir);
}

async function finishRoot(dir: string, root: Metadata<Root>): Promise<void> {
  await publishRoot(dir, root);
  await rm(nextRootPath(dir), { force: true });
}

async function canSignUnder(root: Metadata<Root>, { targets }: TufRepository, keysDir: string): Promise<boolean> {
  if (!isSignedUnder(root, 'targets', targets)) return false;
  for (const role of ['snapshot', 'timestamp'] as const) {
    const { keys, threshold } = roleKeysOf(root, role);
    const found = await findTufKeys(
      [keysDir],
      role,
      keys.map(({ keyID }) => keyID),
    );
    if (found.length < threshold) return false;
  }
  return true;
}

async function publishUnder(options: PublishOptions, repository: TufRepository): Promise<Published> {
  const { dir, now } = options;
  const written: string[] = [];
  const { targets, timestamp } = repository;
  let { snapshot } = repository;
  const covered = snapshot?.signed.meta['targets.json']?.version === targets.signed.version;
  if (snapshot === undefined || !covered || isDue(repository, 'snapshot', snapshot, now)) {
    const version = ((await versions(dir, 'snapshot')).at(-1) ?? 0) + 1;
    const term = { version, lifetimeDays: daysOf(options, snapshot, 'snapshot'), now };
    snapshot = snapshotMetadata(targets.signed.version, term);
    signMetadata(snapshot, await onlineKeys(options, repository, 'snapshot'));
    await writeVersioned(dir, 'snapshot', snapshot);
    written.push(`snapshot ${version}`);
  }
  const { version: snapshotVersion } = snapshot.signed;
  const names = timestamp?.signed.snapshotMeta.version === snapshotVersion;
  if (timestamp === undefined || !names || isDue(repository, 'timestamp', timestamp, now)) {
    const version = (timestamp?.signed.version ?? 0) + 1;
    const next = timestampMetadata(snapshotVersion, {
      version,
      lifetimeDays: daysOf(options, timestamp, 'timestamp'),
      now,
    });
    signMetadata(next, await onlineKeys(options, repository, 'timestamp'));
    await writeTimestamp(dir, next);
    written.push(`timestamp ${version}`);
  }
  return written;
}

function isDue(
  { root, nextRoot }: TufRepository,
  role: TufRole,
  metadata: Metadata<Snapshot> | Metadata<Timestamp>,
  now: Date,
): boolean {
  const roots = nextRoot === undefined ? [root] : [root, nextRoot];
  return isHalfway(metadata, role, now) || !roots.every((one) => isSignedUnder(one, role, metadata));
}

function daysOf(
  { lifetimes = defaultLifetimeDays }: PublishOptions,
  metadata: Metadata<Snapshot> | Metadata<Timestamp> | undefined,
  role: TufRole,
): number {
  return metadata === undefined ? lifetimes[role] : lifetimeDaysOf(metadata, role);
}

/** The keys that satisfy the root in force and, if one waits, the next. */
async function onlineKeys(
  { keysDir }: PublishOptions,
  { root, nextRoot }: TufRepository,
  role: TufRole,
): Promise<readonly StoredKey[]> {
  const byId = new Map<string, StoredKey>();
  for (const one of nextRoot === undefined ? [root] : [root, nextRoot]) {
    const { keys, threshold } = roleKeysOf(one, role);
    const ids = keys.map(({ keyID }) => keyID);
    const found = await findTufKeys([keysDir], role, ids);
    if (found.length < threshold) throw missingKey(keysDir, role, ids, threshold);
    for (const key of found) byId.set(key.key.keyID, key);
  }
  return [...byId.values()];
}

function missingKey(keysDir: string, role: TufRole, ids: readonly string[], threshold: number): AppError {
  const files = ids.map((id) => tufKeyFile(role, id)).join(', ');
  const needed = ids.length === 1 ? files : `${threshold} of ${files}`;
  return new AppError('STARTUP', `${keysDir} lacks the key that signs the ${role} metadata; expected ${needed}`);
}
