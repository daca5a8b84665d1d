import { AppError, messageOf } from '../errors.js';
import { openCheckpoint } from './checkpoint.js';
import { tilesToCopy } from './copy-tiles.js';
import { fsckLog } from './fsck.js';
import { sameHash } from './merkle.js';
import type { ObjectStorage } from './object-storage.js';
import { type LogIdentity, recover } from './recovery.js';
import type { LogStorage } from './storage.js';
import { cutTile } from './tile-leaf.js';
import { fullTilePath, issuerPath, tilePath, tileWidth } from './tiles.js';

export interface CopyOptions {
  /** Held by this process, so that nobody writes meanwhile; it holds a log. */
  readonly source: LogStorage;
  /** Takes the log from the source's writers, durably. Repeating it does no harm. */
  readonly markMoved: () => Promise<void>;
  /** Held by this process, and opened although it may be marked as being copied to. */
  readonly target: ObjectStorage;
  readonly identity: LogIdentity;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Check each precertificate and its signature too. */
  readonly precertificates: boolean;
  /** Told what is under way, and how many entries of how many it has been done to. */
  readonly progress: (step: 'checking' | 'copying', entries: number, total: number) => void;
}

/** What a copy moved. */
export interface Copied {
  readonly size: number;
  readonly root: Uint8Array;
  readonly issuers: number;
}

/** Tiles under way at once: a store answers many as fast as one. */
const parallel = 16;

/**
 * Moves a log into an empty place of an object store, after checking it from its first entry. Throws AppError STARTUP
 * when it is not sound, or when something is in its place that is not a part of it.
 *
 * The order makes it safe to stop at any instant and to run again: the target is marked, so that no writer begins a log
 * there; everything is uploaded; the source is marked as moved; the checkpoint is committed; the target's mark is
 * removed. So until the third step only the source may be written, from the last on only the target, and between them
 * neither.
 */
export async function copyLog(options: CopyOptions): Promise<Copied> {
  const { source, target, identity, clock, markMoved } = options;
  const { head, checkpoint } = await recover(source, identity, clock());
  const issuers = await checkSource(options);
  if (!(await isCommitted(options, checkpoint))) {
    await target.mark('copying');
    await upload(options, head.size, issuers);
    await markMoved();
    await target.replaceCheckpoint(undefined, checkpoint);
  }
  // An earlier run may have ended right after the commit.
  await markMoved();
  await target.publish(checkpoint);
  await target.unmark('copying');
  return { size: head.size, root: head.root, issuers: issuers.size };
}

/** Gives the paths of the issuers that the entries name. */
async function checkSource({ source, identity, ...options }: CopyOptions): Promise<Set<string>> {
  const issuers = new Set<string>();
  await fsckLog(source, {
    logKey: identity.publicKey,
    origin: identity.origin,
    now: options.clock(),
    precertificates: options.precertificates,
    report({ file, expected, found }) {
      throw new AppError(
        'STARTUP',
        `the log in ${source.name} is not sound, and nothing was copied: ${file}: expected ${expected}, found ${found}. ` +
          '"mayfly log fsck" lists all that is wrong',
      );
    },
    onLeaf: ({ chainFingerprints }) => {
      for (const fingerprint of chainFingerprints) issuers.add(issuerPath(fingerprint));
    },
    progress: (checked, total) => options.progress('checking', checked, total),
  });
  return issuers;
}

/** Whether an earlier run has committed this checkpoint; throws when the target holds anything else. */
async function isCommitted({ source, target, identity }: CopyOptions, checkpoint: Uint8Array): Promise<boolean> {
  const found = await target.loadCheckpoint();
  if (found === undefined) return false;
  if (Buffer.compare(found, checkpoint) === 0) return true;
  const committed = openCheckpoint(checkpoint, { origin: identity.origin, logKey: identity.publicKey });
  let what: string;
  try {
    const head = openCheckpoint(found, { origin: identity.origin, logKey: identity.publicKey });
    const same = head.size === committed.size && sameHash(head.root, committed.root);
    const which = same ? `the same ${head.size} entries` : `${head.size} entries, and the source has ${committed.size}`;
    what = `holds this log already, with ${which} and a tree head of its own: it is, or was, written there`;
  } catch (error) {
    what = `holds another log: ${messageOf(error)}`;
  }
  throw new AppError(
    'STARTUP',
    `the log in ${source.name} cannot be copied to ${target.name}, which ${what}. Nothing was changed`,
  );
}

/** Uploads what is missing. What is there with the same bytes stays; other bytes are an error. */
async function upload(options: CopyOptions, size: number, issuers: ReadonlySet<string>): Promise<void> {
  const { source, target, progress } = options;
  const present = new Set((await target.list()).filter((path) => !isOwn(path) && !issuers.has(path)));
  const { tiles, strange } = tilesToCopy(size, [...present]);
  // A server stores the certificates of its CA before there is an entry with them.
  const foreign = strange.filter((path) => !path.startsWith('issuer/'));
  if (foreign.length > 0) {
    throw new AppError('STARTUP', `${target.name} is not empty: ${foreign[0]} is there, and no part of this log`);
  }
  for (const path of issuers) await target.upload(path, await read(source, path));
  const queue = tiles[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (const { kind, index, width, also } of { [Symbol.iterator]: () => queue }) {
      const bytes = await readTile(source, { kind, index, width });
      await target.upload(tilePath({ kind, index, width }), bytes);
      for (const narrower of also) {
        const path = tilePath({ kind, index, width: narrower });
        const wanted = present.has(path) || (await source.fetch(path)) !== undefined;
        if (wanted) await target.upload(path, cutTile(kind, bytes, narrower));
      }
      if (kind === 'data') progress('copying', index * tileWidth + width, size);
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}

/** The writer's own, but for what a writer stages. */
function isOwn(path: string): boolean {
  return path.startsWith('.writer/') && !path.startsWith('.writer/stages/');
}

async function read(source: LogStorage, path: string): Promise<Uint8Array> {
  const bytes = await source.fetch(path);
  if (bytes === undefined) throw new AppError('STARTUP', `${path} has vanished from ${source.name}`);
  return bytes;
}

/** A partial tile may have given way to the full one. */
async function readTile(source: LogStorage, tile: Parameters<typeof tilePath>[0]): Promise<Uint8Array> {
  const bytes = await source.fetch(tilePath(tile));
  return bytes ?? cutTile(tile.kind, await read(source, fullTilePath(tile.kind, tile.index)), tile.width);
}
