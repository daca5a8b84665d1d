import { CheckpointConflict, checkpointPath, type LogStorage } from '../../src/ctlog/storage.js';

/** A file with what readers see and what a power failure would leave. */
interface File {
  visible: Uint8Array | undefined;
  durable: Uint8Array | undefined;
}

/**
 * The storage contract in memory, as weak as the contract allows: whatever is not flushed may be lost by `powerFailure`.
 * `violations` collects uploads that gave a path a second content.
 */
export class MemoryStorage implements LogStorage {
  readonly name = 'memory';
  readonly violations: string[] = [];
  readonly #files = new Map<string, File>();
  readonly #stages = new Map<string, File>();
  readonly #contents = new Map<string, string>();
  #committed: Uint8Array | undefined;
  #durablyCommitted: Uint8Array | undefined;

  /**
   * Everything that is not durable survives if `keep` says so for its name, or in part: of a tile or issuer the half,
   * of the published checkpoint a file without content.
   */
  powerFailure(keep: (name: string) => boolean | 'torn'): void {
    if (keep('committed') !== true) this.#committed = this.#durablyCommitted;
    this.#durablyCommitted = this.#committed;
    for (const files of [this.#files, this.#stages]) {
      for (const [name, file] of files) {
        const kept = keep(name);
        if (kept === 'torn' && file.visible !== undefined && file.visible !== file.durable) {
          file.visible = file.visible.subarray(0, name === checkpointPath ? 0 : file.visible.length / 2);
        } else if (kept !== true) file.visible = file.durable;
        file.durable = file.visible;
        if (file.visible === undefined) files.delete(name);
      }
    }
  }

  /** Another one with the same content. */
  copy(): MemoryStorage {
    const copy = new MemoryStorage();
    for (const [name, file] of this.#files) copy.#files.set(name, { ...file });
    for (const [name, file] of this.#stages) copy.#stages.set(name, { ...file });
    for (const [path, content] of this.#contents) copy.#contents.set(path, content);
    copy.violations.push(...this.violations);
    copy.#committed = this.#committed;
    copy.#durablyCommitted = this.#durablyCommitted;
    return copy;
  }

  async loadCheckpoint(): Promise<Uint8Array | undefined> {
    return this.#committed;
  }

  async replaceCheckpoint(expected: Uint8Array | undefined, next: Uint8Array): Promise<void> {
    const found = this.#committed;
    const same = found === undefined || expected === undefined ? found === expected : !Buffer.compare(found, expected);
    if (!same) throw new CheckpointConflict('another checkpoint');
    this.#committed = next;
    this.#durablyCommitted = next;
  }

  /** A commit that was not made durable: the next load finds it, and a power failure may take it back. */
  async replaceCheckpointVisibly(expected: Uint8Array | undefined, next: Uint8Array): Promise<void> {
    const before = this.#durablyCommitted;
    await this.replaceCheckpoint(expected, next);
    this.#durablyCommitted = before;
  }

  async stage(name: string, bytes: Uint8Array): Promise<void> {
    this.#stages.set(name, { visible: bytes, durable: bytes });
  }

  async listStages(): Promise<string[]> {
    return [...this.#stages].filter(([, file]) => file.visible !== undefined).map(([name]) => name);
  }

  async fetchStage(name: string): Promise<Uint8Array> {
    return this.#stages.get(name)?.visible ?? Promise.reject(new Error(`no stage ${name}`));
  }

  async discardStages(names: readonly string[], durable: boolean): Promise<void> {
    for (const name of names) {
      const file = this.#stages.get(name);
      if (file !== undefined) file.visible = undefined;
    }
    if (durable) for (const [name, file] of this.#stages) if (file.visible === undefined) this.#stages.delete(name);
  }

  async upload(path: string, bytes: Uint8Array): Promise<void> {
    const content = Buffer.from(bytes).toString('base64');
    const before = this.#contents.get(path);
    if (before !== undefined && before !== content) this.violations.push(path);
    this.#contents.set(path, content);
    this.#show(path, bytes);
  }

  async flush(paths: Iterable<string>): Promise<void> {
    for (const path of paths) {
      const file = this.#files.get(path);
      if (file === undefined) throw new Error(`flush of ${path}, which was never uploaded`);
      file.durable = file.visible;
    }
  }

  async discardPartials(directories: Iterable<string>): Promise<void> {
    for (const directory of directories) {
      for (const path of this.#files.keys()) if (path.startsWith(`${directory}/`)) this.#files.delete(path);
    }
  }

  async publish(checkpoint: Uint8Array): Promise<void> {
    this.#show(checkpointPath, checkpoint);
  }

  async fetch(path: string): Promise<Uint8Array | undefined> {
    return this.#files.get(path)?.visible;
  }

  async close(): Promise<void> {}

  #show(path: string, bytes: Uint8Array): void {
    const file = this.#files.get(path) ?? { visible: undefined, durable: undefined };
    file.visible = bytes;
    this.#files.set(path, file);
  }
}
