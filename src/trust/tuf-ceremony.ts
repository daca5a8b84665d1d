import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Metadata, Root } from '@tufjs/models';
import { AppError, messageOf } from '../errors.js';
import {
  createTufKey,
  findTufKeys,
  onlineRoles,
  type Passphrase,
  type StoredKey,
  type TufRole,
  tufKeyFile,
  tufRoles,
} from './tuf-keys.js';
import {
  isHalfway,
  type Lifetimes,
  lifetimeDaysOf,
  type RootRoles,
  roleKeysOf,
  rolesOf,
  rootMetadata,
  signMetadata,
  targetsMetadata,
} from './tuf-metadata.js';
import { canPublish, type Published, publishTuf } from './tuf-publish.js';
import {
  isTufRepository,
  publishRoot,
  readTufRepository,
  type TufRepository,
  writeNextRoot,
  writeTarget,
  writeVersioned,
} from './tuf-repository.js';
import { sha256Hex, type TufTarget } from './tuf-targets.js';

/** How many keys sign for a role, and how many of them it takes. */
export interface KeyCount {
  readonly keys: number;
  readonly threshold: number;
}

export interface CeremonyOptions {
  readonly dir: string;
  /** Directories with offline keys; new ones go into the first. */
  readonly offlineDirs: readonly string[];
  /** Keys of snapshot and timestamp. */
  readonly keysDir: string;
  readonly passphrase: Passphrase;
  readonly now: Date;
}

export interface InitOptions extends CeremonyOptions {
  readonly targets: readonly TufTarget[];
  readonly root: KeyCount;
  readonly targetsRole: KeyCount;
  readonly lifetimes: Lifetimes;
}

/**
 * Makes the keys and the first version of everything; the repository appears under its name in one step.
 * @throws AppError STARTUP when there is a repository already, or a file cannot be written.
 */
export async function initTuf(options: InitOptions): Promise<{ readonly keys: readonly StoredKey[] }> {
  const { dir, keysDir, lifetimes, now } = options;
  if (await isTufRepository(dir)) {
    throw new AppError(
      'STARTUP',
      `${dir} holds a TUF repository already; "mayfly trust tuf update" brings it up to date`,
    );
  }
  const counts: Readonly<Record<TufRole, KeyCount>> = {
    root: options.root,
    targets: options.targetsRole,
    snapshot: { keys: 1, threshold: 1 },
    timestamp: { keys: 1, threshold: 1 },
  };
  const made: Record<TufRole, readonly StoredKey[]> = { root: [], targets: [], snapshot: [], timestamp: [] };
  for (const role of tufRoles) made[role] = await createKeys(options, role, counts[role].keys);
  const entries = tufRoles.map((role) => [role, { keys: publicKeys(made[role]), threshold: counts[role].threshold }]);
  const root = rootMetadata(Object.fromEntries(entries) as RootRoles, {
    version: 1,
    lifetimeDays: lifetimes.root,
    now,
  });
  signMetadata(root, made.root);
  const targets = targetsMetadata(options.targets, { version: 1, lifetimeDays: lifetimes.targets, now });
  signMetadata(targets, made.targets);

  const staged = `${dir}.new`;
  try {
    await rm(staged, { recursive: true, force: true });
    await mkdir(join(staged, 'targets'), { recursive: true, mode: 0o755 });
    for (const { name, bytes } of options.targets) await writeTarget(staged, name, bytes);
    await publishRoot(staged, root);
    await writeVersioned(staged, 'targets', targets);
    await publishTuf({ dir: staged, keysDir, now, lifetimes });
    await rename(staged, dir);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('STARTUP', `the TUF repository ${dir} cannot be written: ${messageOf(cause)}`, { cause });
  }
  return { keys: tufRoles.flatMap((role) => made[role]) };
}

/** What a ceremony did, and whether clients see it already. */
export interface CeremonyResult {
  readonly signed: readonly string[];
  readonly published: Published;
  /** Set when snapshot or timestamp keys are elsewhere: the machine that has them has to publish. */
  readonly waits: boolean;
}

/**
 * Signs the targets as they are now. Nothing is signed when they are the same and more than half of their life is left,
 * unless `force`.
 * @throws AppError STARTUP when a targets key is not among the offline keys.
 */
export async function updateTuf(
  options: CeremonyOptions & { readonly targets: readonly TufTarget[]; readonly force?: boolean },
): Promise<CeremonyResult> {
  const { dir, targets, now, force = false } = options;
  const repository = await readTufRepository(dir);
  const current = repository.targets;
  const same = differences(repository, targets).length === 0;
  if (same && !force && !isHalfway(current, 'targets', now)) return publishIfPossible(options, []);
  const next = targetsMetadata(targets, {
    version: current.signed.version + 1,
    lifetimeDays: lifetimeDaysOf(current, 'targets'),
    now,
  });
  signMetadata(next, await targetsKeys(options, repository));
  for (const { name, bytes } of targets) await writeTarget(dir, name, bytes);
  await writeVersioned(dir, 'targets', next);
  return publishIfPossible(options, [`targets ${next.signed.version}`]);
}

/** Signs the root again as it is, for another lifetime. */
export async function renewTufRoot(options: CeremonyOptions): Promise<CeremonyResult> {
  const repository = await readTufRepository(options.dir);
  refusePending(repository);
  const { root } = repository;
  const next = nextRootOf(root, rolesOf(root), options.now);
  signMetadata(next, await offlineKeys(options, repository, 'root'));
  await writeNextRoot(options.dir, next);
  return publishIfPossible(options, [`root ${next.signed.version}`]);
}

export interface RotateOptions extends CeremonyOptions {
  readonly role: TufRole;
  /** The key to give up, by the start of its id; without it, every key of the role. */
  readonly replace?: string;
  /** How many keys the role has from now on, if not as many as before; not together with `replace`. */
  readonly count?: KeyCount;
}

/**
 * Gives a role new keys by a new root, which old and new root keys sign. Targets are signed again by old and new keys, so
 * that clients with either root can read them.
 * @throws AppError STARTUP when a key that has to sign is not there.
 */
export async function rotateTufKey(
  options: RotateOptions,
): Promise<CeremonyResult & { readonly made: readonly StoredKey[]; readonly dropped: readonly string[] }> {
  const { dir, role, now } = options;
  const repository = await readTufRepository(dir);
  refusePending(repository);
  const { root } = repository;
  const before = roleKeysOf(root, role);
  const dropped = before.keys.filter(({ keyID }) => options.replace === undefined || keyID.startsWith(options.replace));
  if (dropped.length === 0 || (options.replace !== undefined && dropped.length > 1)) {
    const ids = before.keys.map(({ keyID }) => keyID).join(', ');
    throw new AppError(
      'STARTUP',
      `"${options.replace}" names ${dropped.length} keys of ${role}; expected the start of one of ${ids}`,
    );
  }
  // What needs an old key comes first, so that a missing one leaves no new one behind.
  const rootKeys = await offlineKeys(options, repository, 'root');
  const oldTargetsKeys = role === 'targets' ? await oldKeys(options, root, 'targets') : [];
  const { keys: total, threshold } = options.count ?? { keys: before.keys.length, threshold: before.threshold };
  const kept = before.keys.filter((key) => !dropped.includes(key));
  const made = await createKeys(options, role, total - kept.length);
  const roles = { ...rolesOf(root), [role]: { keys: [...kept, ...publicKeys(made)], threshold } };
  const next = nextRootOf(root, roles, now);
  signMetadata(next, role === 'root' ? [...rootKeys, ...made] : rootKeys);
  const signed: string[] = [];
  if (role === 'targets') {
    signed.push(await resignTargets(repository, [...oldTargetsKeys, ...made], now));
  }
  await writeNextRoot(dir, next);
  const result = await publishIfPossible(options, [...signed, `root ${next.signed.version}`]);
  return { ...result, made, dropped: dropped.map(({ keyID }) => keyID) };
}

async function resignTargets({ dir, targets }: TufRepository, keys: readonly StoredKey[], now: Date): Promise<string> {
  const version = targets.signed.version + 1;
  const next = targetsMetadata([], { version, lifetimeDays: lifetimeDaysOf(targets, 'targets'), now });
  for (const target of Object.values(targets.signed.targets)) next.signed.addTarget(target);
  signMetadata(next, keys);
  await writeVersioned(dir, 'targets', next);
  return `targets ${version}`;
}

function nextRootOf(root: Metadata<Root>, roles: RootRoles, now: Date): Metadata<Root> {
  return rootMetadata(roles, { version: root.signed.version + 1, lifetimeDays: lifetimeDaysOf(root, 'root'), now });
}

/** Names of the targets that are new, changed or gone compared with what is signed. */
export function differences(repository: TufRepository, targets: readonly TufTarget[]): readonly string[] {
  const signed = repository.targets.signed.targets;
  const changed = targets.filter(({ name, bytes, sigstore }) => {
    const found = signed[name];
    const custom = found?.custom.sigstore;
    return found?.hashes.sha256 !== sha256Hex(bytes) || JSON.stringify(custom) !== JSON.stringify(sigstore);
  });
  const gone = Object.keys(signed).filter((name) => !targets.some((target) => target.name === name));
  return [...changed.map(({ name }) => name), ...gone];
}

function publicKeys(keys: readonly StoredKey[]): StoredKey['key'][] {
  return keys.map(({ key }) => key);
}

async function createKeys(options: CeremonyOptions, role: TufRole, count: number): Promise<readonly StoredKey[]> {
  const keys: StoredKey[] = [];
  const [offlineDir = '.'] = options.offlineDirs;
  for (let made = 0; made < count; made += 1) {
    const online = onlineRoles.includes(role);
    const secret = online ? undefined : await options.passphrase(join(offlineDir, `${role}.*.pem`), true);
    keys.push(await createTufKey(online ? options.keysDir : offlineDir, role, secret));
  }
  return keys;
}

/** The keys for targets that clients can read now, and those of a root that waits, which they can read then. */
async function targetsKeys(options: CeremonyOptions, repository: TufRepository): Promise<readonly StoredKey[]> {
  const { root, nextRoot } = repository;
  if (nextRoot === undefined) return offlineKeys(options, repository, 'targets');
  const coming = await offlineKeys(options, { ...repository, root: nextRoot }, 'targets');
  const isComing = (id: string): boolean => coming.some(({ key }) => key.keyID === id);
  // Former keys may be lost: the root is published first then.
  return [...coming, ...(await oldKeys(options, root, 'targets')).filter(({ key }) => !isComing(key.keyID))];
}

/** The keys of an offline role, as many as its threshold asks for. */
async function offlineKeys(options: CeremonyOptions, { root }: TufRepository, role: TufRole) {
  const { keys, threshold } = roleKeysOf(root, role);
  const found = await oldKeys(options, root, role);
  if (found.length >= threshold) return found;
  const missing = keys.filter(({ keyID }) => !found.some((one) => one.key.keyID === keyID));
  const files = missing.map(({ keyID }) => tufKeyFile(role, keyID)).join(', ');
  throw new AppError(
    'STARTUP',
    `the ${role} metadata needs ${threshold} of ${keys.length} keys, and ${found.length} are in ` +
      `${options.offlineDirs.join(', ')}; missing: ${files}. Name the directory they are in by --offline-dir`,
  );
}

function oldKeys({ offlineDirs, passphrase }: CeremonyOptions, root: Metadata<Root>, role: TufRole) {
  const ids = roleKeysOf(root, role).keys.map(({ keyID }) => keyID);
  return findTufKeys(offlineDirs, role, ids, passphrase);
}

function refusePending({ dir, nextRoot }: TufRepository): void {
  if (nextRoot === undefined) return;
  throw new AppError(
    'STARTUP',
    `${dir} has a root that is not published yet; run "mayfly trust tuf refresh" where the snapshot and timestamp keys are`,
  );
}

/** Publishes where the online keys are at hand; elsewhere what was signed waits in the directory. */
async function publishIfPossible(options: CeremonyOptions, signed: readonly string[]): Promise<CeremonyResult> {
  if (!(await canPublish(options))) return { signed, published: [], waits: true };
  return { signed, published: await publishTuf(options), waits: false };
}
