import type { Logger } from 'pino';
import { markKey, refuseMarked, type StoreMark, setMark } from './object-storage-marks.js';
import type { WriterLease } from './postgres-lease.js';
import type { ObjectHeaders, ObjectStore } from './s3-objects.js';
import { CheckpointConflict, checkpointPath, type LogStorage } from './storage.js';

const immutable = 'public, max-age=31536000, immutable';
const headers = {
  tile: { type: 'application/octet-stream', cacheControl: immutable },
  issuer: { type: 'application/pkix-cert', cacheControl: immutable },
  checkpoint: { type: 'text/plain; charset=utf-8', cacheControl: 'no-cache' },
  stage: { type: 'application/octet-stream', cacheControl: 'no-store' },
} as const satisfies Record<string, ObjectHeaders>;

/** Must not be readable by the public: a stage holds a signed checkpoint that may never be committed. */
const stagesPrefix = '.writer/stages/';
const epochDigits = 16;

/**
 * The operations of a log in an object store, under a writer's lease. What is said here is said beside the contract.
 *
 * Objects are written whole, and durable and visible when written. What is left to guard against is a writer that was
 * replaced and does not know it, and a request that was given up but is still on its way: hence the epochs in the keys
 * of stages, and the conditions on all other writes.
 */
export class ObjectLogStorage implements LogStorage {
  readonly name: string;
  readonly #objects: ObjectStore;
  readonly #lease: WriterLease;
  readonly #logger: Pick<Logger, 'info'>;
  /** The mark that does not keep this writer away. */
  readonly #allowed: StoreMark | undefined;
  /** By stage name, the keys it was found or written under. */
  readonly #stages = new Map<string, Set<string>>();
  /** Version of the published checkpoint that this writer last saw; undefined when it has to look. */
  #published: string | undefined;

  constructor(objects: ObjectStore, lease: WriterLease, logger: Pick<Logger, 'info'>, allowed?: StoreMark) {
    this.name = objects.name;
    this.#objects = objects;
    this.#lease = lease;
    this.#logger = logger;
    this.#allowed = allowed;
  }

  /** Whether this process holds the lease, as far as it knows without asking. */
  isLeader(): boolean {
    return this.#lease.isHeld();
  }

  /**
   * Durable, unlike the contract's least: the statement that reads also writes, after everything before it. From here
   * on nothing that this process sent earlier can be committed. A writer that lost its lease tries to take it again.
   * The marks are read after that, so a writer that was replaced meanwhile learns that the log was frozen. Throws
   * AppError STARTUP then.
   */
  async loadCheckpoint(): Promise<Uint8Array | undefined> {
    this.#published = undefined;
    this.#stages.clear();
    const checkpoint = await this.#load();
    await refuseMarked(this.#objects, this.#allowed);
    return checkpoint;
  }

  /** Sets a mark, durably. */
  async mark(mark: StoreMark): Promise<void> {
    void this.#lease.epoch;
    await setMark(this.#objects, mark);
  }

  /** Takes a mark away, durably. */
  async unmark(mark: StoreMark): Promise<void> {
    void this.#lease.epoch;
    await this.#objects.remove([markKey(mark)]);
  }

  /** Paths of everything that is there, the writer's own too. */
  list(): Promise<string[]> {
    return this.#objects.list('');
  }

  async #load(): Promise<Uint8Array | undefined> {
    try {
      return await this.#lease.load();
    } catch (error) {
      if (!(error instanceof CheckpointConflict) || (await this.#lease.acquire()) !== 'acquired') throw error;
      this.#logger.info(`this process is the writer of the log in ${this.name} again`);
      return this.#lease.load();
    }
  }

  /** One statement in PostgreSQL compares the lease's epoch and the old checkpoint and writes the new one. Durable. */
  replaceCheckpoint(expected: Uint8Array | undefined, next: Uint8Array): Promise<void> {
    return this.#lease.replace(expected, next);
  }

  /** One object, durable and whole. Its key holds the epoch, so that no earlier writer ever takes it for its own. */
  async stage(name: string, bytes: Uint8Array): Promise<void> {
    const key = `${stagesPrefix}${String(this.#lease.epoch).padStart(epochDigits, '0')}/${name}`;
    await this.#objects.put(key, bytes, headers.stage);
    this.#remember(name, key);
  }

  /**
   * Leaves out the stages of later epochs: they are another writer's, and this one, which does not know that it lost
   * its lease, must not remove them.
   */
  async listStages(): Promise<string[]> {
    const { epoch } = this.#lease;
    for (const key of await this.#objects.list(stagesPrefix)) {
      const [number = '', name = ''] = key.slice(stagesPrefix.length).split('/');
      if (/^[0-9]+$/.test(number) && name !== '' && BigInt(number) <= epoch) this.#remember(name, key);
    }
    return [...this.#stages.keys()];
  }

  async fetchStage(name: string): Promise<Uint8Array> {
    const [key = `${stagesPrefix}${name}`] = this.#stages.get(name) ?? [];
    const found = await this.#objects.get(key);
    if (found === undefined) throw new Error(`${key} is missing from ${this.name}`);
    return found.bytes;
  }

  /** Durable in either case. */
  async discardStages(names: readonly string[], _durable: boolean): Promise<void> {
    await this.#objects.remove(names.flatMap((name) => [...(this.#stages.get(name) ?? [])]));
    for (const name of names) this.#stages.delete(name);
  }

  /**
   * Durable and visible. Never changes an object: one that is there must have this content, as a repeated attempt or a
   * replay finds it, or the operation throws.
   */
  async upload(path: string, bytes: Uint8Array): Promise<void> {
    // Throws when the lease is known to be lost: then its new holder writes this tile from the stage.
    void this.#lease.epoch;
    const kind = path.startsWith('issuer/') ? headers.issuer : headers.tile;
    if ((await this.#objects.create(path, bytes, kind)) === 'created') return;
    const found = await this.#objects.get(path);
    if (found !== undefined && Buffer.compare(found.bytes, bytes) === 0) return;
    throw new Error(`${this.name}/${path} is there with another content than this log gives it`);
  }

  /** Nothing is left to do: an upload is durable when it resolves. */
  async flush(): Promise<void> {}

  async discardPartials(directories: Iterable<string>): Promise<void> {
    for (const directory of directories) await this.#objects.remove(await this.#objects.list(`${directory}/`));
  }

  /**
   * Durable and visible. Replaces only the version that this writer knows to be its own or its predecessors': the
   * version is read first, then the lease confirmed by the database, then the object replaced if it is still that
   * version. (A commit since the version was written confirms the lease too.) So a writer that was paused between its
   * commit and this call cannot put its checkpoint over a newer one of its successor. Throws CheckpointConflict then.
   */
  async publish(checkpoint: Uint8Array): Promise<void> {
    // The second attempt is for a new writer whose paused predecessor's last publication came in between.
    for (let attempt = 1; attempt <= 2; attempt += 1) {
      const known = this.#published ?? (await this.#lookAtPublished(checkpoint));
      if (known === 'same') return;
      void this.#lease.epoch;
      this.#published = undefined;
      if (known === 'none') {
        // Its version is looked up when it is next replaced.
        const made = await this.#objects.create(checkpointPath, checkpoint, headers.checkpoint);
        if (made === 'created') return;
      } else {
        this.#published = await this.#objects.replace(checkpointPath, checkpoint, headers.checkpoint, known);
        if (this.#published !== undefined) return;
      }
    }
    if ((await this.#lookAtPublished(checkpoint)) === 'same') return;
    throw new CheckpointConflict(`somebody else publishes checkpoints in ${this.name}`);
  }

  async fetch(path: string): Promise<Uint8Array | undefined> {
    return (await this.#objects.get(path))?.bytes;
  }

  /** Gives the lease back, so that a standby takes over at once. */
  async close(): Promise<void> {
    await this.#lease.close();
    this.#objects.close();
  }

  /** The version of the published checkpoint, the lease confirmed after it was read. */
  async #lookAtPublished(wanted: Uint8Array): Promise<string> {
    const found = await this.#objects.get(checkpointPath);
    if (found !== undefined && Buffer.compare(found.bytes, wanted) === 0) {
      this.#published = found.etag;
      return 'same';
    }
    await this.#lease.confirm();
    return found?.etag ?? 'none';
  }

  #remember(name: string, key: string): void {
    const keys = this.#stages.get(name) ?? new Set<string>();
    this.#stages.set(name, keys.add(key));
  }
}
