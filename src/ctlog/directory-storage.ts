import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { AppError, messageOf } from '../errors.js';
import { lockDirectory } from './directory-lock.js';
import { readIfExists, replaceFile, syncPath, writeWhole } from './durable-file.js';
import { CheckpointConflict, checkpointPath, type LogReader, type LogStorage } from './storage.js';

/** Public files: nginx may serve them, whatever this process's umask. */
const publicFile = { mode: 0o644, sync: false, chmod: (process.umask() & 0o044) !== 0 };
/** The writer's own: committed checkpoint and stages. */
const privateFile = { mode: 0o600, sync: true };

/** Not served: 0700, and the name begins with a dot. */
const writerDir = '.writer';

/**
 * A log in a directory. Public, 0644 in 0755: `checkpoint`, `tile/`, `issuer/`. The writer's, 0600 in 0700: `.writer/`
 * with `lock`, `committed` (the commit point) and `stages/`.
 *
 * Takes the writer's lock; throws AppError STARTUP naming the directory when it cannot be made, written or locked.
 */
export function openDirectoryStorage(directory: string): LogStorage {
  try {
    return new DirectoryStorage(directory);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('STARTUP', `cannot use ${directory} for the log: ${messageOf(cause)}`, { cause });
  }
}

/** The public files of a log in a directory, without taking the writer's lock. */
export function readDirectory(directory: string): LogReader {
  return { name: directory, fetch: (path) => readIfExists(join(directory, path)) };
}

class DirectoryStorage implements LogStorage {
  readonly name: string;
  readonly #writer: string;
  readonly #stages: string;
  readonly #committed: string;
  readonly #lock: { release(): void };
  /** Directories known to exist, so that an upload into one costs no mkdir. */
  readonly #made = new Set<string>();
  /** What this process last read or wrote as the committed checkpoint; `unknown` after a failed write. */
  #current: Uint8Array | undefined | 'unknown' = 'unknown';
  #temporaries = 0;

  constructor(directory: string) {
    this.name = directory;
    this.#writer = join(directory, writerDir);
    this.#stages = join(this.#writer, 'stages');
    this.#committed = join(this.#writer, 'committed');
    makeDirectory(directory, 0o755);
    makeDirectory(this.#writer, 0o700);
    this.#lock = lockDirectory(join(this.#writer, 'lock'), directory);
    try {
      makeDirectory(this.#stages, 0o700);
      for (const path of [dirname(directory), directory, this.#writer]) syncNow(path);
      removeTemporaries(this.#writer);
    } catch (error) {
      this.#lock.release();
      throw error;
    }
  }

  async loadCheckpoint(): Promise<Uint8Array | undefined> {
    const found = await readIfExists(this.#committed);
    this.#current = found;
    return found;
  }

  async replaceCheckpoint(expected: Uint8Array | undefined, next: Uint8Array): Promise<void> {
    const current = this.#current;
    if (current === 'unknown' || !sameBytes(current, expected)) {
      throw new CheckpointConflict(`the committed checkpoint of ${this.name} is not the one this writer last saw`);
    }
    // A rejection below leaves it open which of the two a later load will find.
    this.#current = 'unknown';
    await replaceFile(this.#committed, this.#temporary(), next, privateFile);
    await syncPath(this.#writer);
    this.#current = next;
  }

  async stage(name: string, bytes: Uint8Array): Promise<void> {
    await writeWhole(join(this.#stages, name), bytes, privateFile);
    await syncPath(this.#stages);
  }

  listStages(): Promise<string[]> {
    return fs.promises.readdir(this.#stages);
  }

  fetchStage(name: string): Promise<Uint8Array> {
    return fs.promises.readFile(join(this.#stages, name));
  }

  async discardStages(names: readonly string[], durable: boolean): Promise<void> {
    for (const name of names) await fs.promises.rm(join(this.#stages, name), { force: true });
    if (durable) await syncPath(this.#stages);
  }

  async upload(path: string, bytes: Uint8Array): Promise<void> {
    const target = join(this.name, path);
    this.#makeParents(path);
    await replaceFile(target, this.#temporary(), bytes, publicFile);
  }

  async flush(paths: Iterable<string>): Promise<void> {
    const directories = new Set<string>();
    for (const path of paths) {
      await syncPath(join(this.name, path));
      for (let at = dirname(path); ; at = dirname(at)) {
        directories.add(at);
        if (at === '.') break;
      }
    }
    for (const directory of directories) await syncPath(join(this.name, directory));
  }

  async discardPartials(directories: Iterable<string>): Promise<void> {
    for (const directory of directories) {
      await fs.promises.rm(join(this.name, directory), { recursive: true, force: true });
      this.#made.delete(directory);
    }
  }

  async publish(checkpoint: Uint8Array): Promise<void> {
    await replaceFile(join(this.name, checkpointPath), this.#temporary(), checkpoint, publicFile);
  }

  fetch(path: string): Promise<Uint8Array | undefined> {
    return readIfExists(join(this.name, path));
  }

  async close(): Promise<void> {
    this.#lock.release();
  }

  #temporary(): string {
    this.#temporaries += 1;
    return join(this.#writer, `new-${this.#temporaries}`);
  }

  #makeParents(path: string): void {
    const parent = dirname(path);
    if (this.#made.has(parent)) return;
    const parts = parent.split('/');
    parts.forEach((_, i) => {
      makeDirectory(join(this.name, ...parts.slice(0, i + 1)), 0o755);
    });
    this.#made.add(parent);
  }
}

/** Makes one directory unless it is there; chmod because a umask would otherwise hide the log from its web server. */
function makeDirectory(path: string, mode: number): void {
  if (fs.existsSync(path)) return;
  fs.mkdirSync(path, { recursive: true, mode });
  fs.chmodSync(path, mode);
}

function syncNow(path: string): void {
  const fd = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** What a killed writer had not renamed yet. */
function removeTemporaries(directory: string): void {
  for (const name of fs.readdirSync(directory)) {
    if (name.startsWith('new-')) fs.rmSync(join(directory, name));
  }
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.compare(a, b) === 0;
}
