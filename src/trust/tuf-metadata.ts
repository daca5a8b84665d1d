import { Metadata, MetadataKind, type Root, type Snapshot, type Targets, type Timestamp } from '@tufjs/models';
import { AppError } from '../errors.js';
import { type StoredKey, type TufRole, tufRoles } from './tuf-keys.js';
import { sha256Hex, type TufTarget } from './tuf-targets.js';

type JsonObject = ReturnType<Metadata<Root>['toJSON']>;
type AnyMetadata = Metadata<Root> | Metadata<Targets> | Metadata<Snapshot> | Metadata<Timestamp>;

/** Keys that sign for a role, and how many of them it takes. */
export interface RoleKeys {
  readonly keys: readonly StoredKey['key'][];
  readonly threshold: number;
}

export type RootRoles = Readonly<Record<TufRole, RoleKeys>>;

/** Days that a role's metadata is good for. */
export type Lifetimes = Readonly<Record<TufRole, number>>;

/** What `mayfly trust tuf init` gives the roles when not told otherwise. */
export const defaultLifetimeDays: Lifetimes = { root: 365, targets: 365, snapshot: 30, timestamp: 7 };

const dayMs = 24 * 60 * 60 * 1000;
/** A role's lifetime travels in its own metadata, so that whoever signs it next needs no settings. */
const lifetimeField = 'x-mayfly-lifetime-days';

export interface Term {
  readonly version: number;
  readonly lifetimeDays: number;
  readonly now: Date;
}

/** The fields that all metadata has. TUF's dates have no fraction of a second (Section 4.2.1). */
function common(type: TufRole, { version, lifetimeDays, now }: Term): JsonObject {
  const expires = new Date(now.getTime() + lifetimeDays * dayMs).toISOString().replace(/\.\d{3}Z$/, 'Z');
  return { _type: type, spec_version: '1.0.31', version, expires, [lifetimeField]: lifetimeDays };
}

/** Unsigned root metadata (Section 4.3) with consistent snapshots. */
export function rootMetadata(roles: RootRoles, term: Term): Metadata<Root> {
  const keys: JsonObject = {};
  const named: JsonObject = {};
  for (const role of tufRoles) {
    for (const key of roles[role].keys) keys[key.keyID] = key.toJSON();
    named[role] = { keyids: roles[role].keys.map(({ keyID }) => keyID), threshold: roles[role].threshold };
  }
  const signed = { ...common('root', term), consistent_snapshot: true, keys, roles: named };
  return Metadata.fromJSON(MetadataKind.Root, { signed, signatures: [] });
}

/** Unsigned targets metadata (Section 4.5). */
export function targetsMetadata(targets: readonly TufTarget[], term: Term): Metadata<Targets> {
  const files: JsonObject = {};
  for (const { name, bytes, sigstore } of targets) {
    const custom: JsonObject = sigstore === undefined ? {} : { custom: { sigstore: { ...sigstore } } };
    files[name] = { length: bytes.length, hashes: { sha256: sha256Hex(bytes) }, ...custom };
  }
  return Metadata.fromJSON(MetadataKind.Targets, {
    signed: { ...common('targets', term), targets: files },
    signatures: [],
  });
}

/** Unsigned snapshot metadata (Section 4.4). */
export function snapshotMetadata(targetsVersion: number, term: Term): Metadata<Snapshot> {
  const signed = { ...common('snapshot', term), meta: { 'targets.json': { version: targetsVersion } } };
  return Metadata.fromJSON(MetadataKind.Snapshot, { signed, signatures: [] });
}

/** Unsigned timestamp metadata (Section 4.6). */
export function timestampMetadata(snapshotVersion: number, term: Term): Metadata<Timestamp> {
  const signed = { ...common('timestamp', term), meta: { 'snapshot.json': { version: snapshotVersion } } };
  return Metadata.fromJSON(MetadataKind.Timestamp, { signed, signatures: [] });
}

/** The keys and threshold of a role in root metadata. */
export function roleKeysOf(root: Metadata<Root>, role: TufRole): RoleKeys {
  const found = root.signed.roles[role];
  if (found === undefined) throw new AppError('STARTUP', `the root metadata has no role ${role}`);
  const keys = found.keyIDs.flatMap((id) => root.signed.keys[id] ?? []);
  return { keys, threshold: found.threshold };
}

/** All roles of root metadata. */
export function rolesOf(root: Metadata<Root>): RootRoles {
  const [rootRole, targets, snapshot, timestamp] = tufRoles.map((role) => roleKeysOf(root, role));
  if (rootRole && targets && snapshot && timestamp) return { root: rootRole, targets, snapshot, timestamp };
  throw new AppError('STARTUP', 'the root metadata lacks a role');
}

/** Adds the signatures of these keys. */
export function signMetadata(metadata: AnyMetadata, keys: readonly StoredKey[]): void {
  for (const { signer } of keys) metadata.sign((data) => signer.sign(data));
}

/** Whether metadata of a role carries enough signatures by the keys that `root` names. */
export function isSignedUnder(root: Metadata<Root>, role: TufRole, metadata: AnyMetadata): boolean {
  try {
    root.verifyDelegate(role, metadata);
    return true;
  } catch {
    return false;
  }
}

/** The lifetime with which a role's metadata was last signed. */
export function lifetimeDaysOf(metadata: AnyMetadata, role: TufRole): number {
  const days = metadata.signed.unrecognizedFields[lifetimeField];
  return typeof days === 'number' && days > 0 ? days : defaultLifetimeDays[role];
}

/** Whether less than half of a role's lifetime is left: time to sign it again. */
export function isHalfway(metadata: AnyMetadata, role: TufRole, now: Date): boolean {
  const left = new Date(metadata.signed.expires).getTime() - now.getTime();
  return left < (lifetimeDaysOf(metadata, role) * dayMs) / 2;
}
