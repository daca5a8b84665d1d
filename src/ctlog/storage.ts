/**
 * Where a log lives: the contract between the log's one writer and a directory, an object store, a database.
 *
 * Terms: a write is *durable* when it survives the power going off at any instant after the call resolved; it is
 * *visible* when later reads, by anyone, find it. A call that rejects says nothing: the write may have happened, wholly,
 * partly or not at all, and the writer must reload its state from the storage before it goes on.
 *
 * The writer calls one mutating operation at a time on the commit path (`stage`, `replaceCheckpoint`, `upload`,
 * `publish`); `flush`, `discardStage` and `discardPartials` may run beside it.
 */
export interface LogStorage {
  /** For messages: a directory or a URL. */
  readonly name: string;

  /**
   * The committed checkpoint, or undefined when there never was one. Reads the storage, never a copy in memory; what
   * it finds may not be durable yet if an earlier `replaceCheckpoint` rejected.
   */
  loadCheckpoint(): Promise<Uint8Array | undefined>;

  /**
   * The commit point: atomically replaces the committed checkpoint by `next` if it is still `expected` (undefined:
   * there is none). Durable when it resolves. Throws CheckpointConflict, changing nothing, when another value was
   * found or when the writer's hold on the log was lost.
   */
  replaceCheckpoint(expected: Uint8Array | undefined, next: Uint8Array): Promise<void>;

  /**
   * Writes a stage: all that is needed to finish a batch once it is committed. Durable when it resolves. It need not
   * be atomic: a torn stage is one that was never committed. Names are those `listStages` gives back.
   */
  stage(name: string, bytes: Uint8Array): Promise<void>;

  /** Names of all stages, in no particular order. */
  listStages(): Promise<string[]>;

  fetchStage(name: string): Promise<Uint8Array>;

  /** Removes stages. Resolves with `durable` only after the removal is durable; otherwise one may come back after a crash. */
  discardStages(names: readonly string[], durable: boolean): Promise<void>;

  /**
   * Writes a public file (tile, issuer) so that a reader sees all of it or nothing. Visible but not yet durable when it
   * resolves. A path only ever has one content, but recovery may write it again, over what a crash left of it.
   */
  upload(path: string, bytes: Uint8Array): Promise<void>;

  /** Makes these uploads (and, if `checkpoint` is among them, the published checkpoint) durable. */
  flush(paths: Iterable<string>): Promise<void>;

  /** Removes the partial versions of a tile whose full version is durable. Need not be durable. */
  discardPartials(directories: Iterable<string>): Promise<void>;

  /** Atomically replaces the public file `checkpoint`. Visible, not yet durable, when it resolves. */
  publish(checkpoint: Uint8Array): Promise<void>;

  /** What `publish` would make of this checkpoint now, where that is not the checkpoint as it is. */
  shown?(checkpoint: Uint8Array): Uint8Array;

  /** A public file, or undefined when there is none. Safe beside the writer, and from other processes. */
  fetch(path: string): Promise<Uint8Array | undefined>;

  /** Lets go of the log, so that another writer may take it. */
  close(): Promise<void>;
}

/** The part of a storage that readers need. */
export type LogReader = Pick<LogStorage, 'name' | 'fetch' | 'shown'>;

/** Path of the published checkpoint. */
export const checkpointPath = 'checkpoint';

/** `replaceCheckpoint` found another checkpoint than the writer expected: there is, or was, a second writer. */
export class CheckpointConflict extends Error {
  override readonly name = 'CheckpointConflict';
}
