import fs from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { AppError, messageOf } from '../errors.js';
import { lockDirectory } from './directory-lock.js';
import { makeDirectories, readIfExists, replaceFile, syncPath, writeWhole } from './durable-file.js';
import { refuseMoved } from './moved.js';
import { readSlotFile, SlotFile } from './slot-file.js';
import { StageJournal } from './stage-journal.js';
import { CheckpointConflict, checkpointPath, type LogReader, type LogStorage } from './storage.js';

/** Public files: nginx may serve them, whatever this process's umask. */
const publicFile = { mode: 0o644, sync: false, chmod: (process.umask() & 0o044) !== 0 };
/** The writer's own. */
const privateFile = { mode: 0o600, sync: true };

/** Not served: 0700, and the name begins with a dot. */
const writerDir = '.writer';

export interface DirectoryStorageOptions {
  /** Length of the journal of stages, whole pages; 8 MiB unless told. One that is there keeps its own. */
  readonly journalBytes?: number;
  /** Open it although it was moved there: for the copy that does that. */
  readonly movedTo?: string;
}

/**
 * A log in a directory. Public, 0644 in 0755: `checkpoint`, `tile/`, `issuer/`. The writer's, 0600 in 0700: `.writer/`
 * with `lock`, `committed` (the commit point, a SlotFile), `journal` (a StageJournal) and `stages/` for what the journal
 * has no room for. A commit is two durable writes in place.
 *
 * Directories of before the journal and the slots are read as they are, and get both when they are written.
 *
 * Takes the writer's lock; throws AppError STARTUP naming the directory when it cannot be made, written or locked, or when
 * the log was moved away from it.
 */
export function openDirectoryStorage(directory: string, options: DirectoryStorageOptions = {}): LogStorage {
  try {
    return new DirectoryStorage(directory, options);
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
  readonly #journalBytes: number;
  readonly #journalPath: string;
  /** What there is at the opening; undefined without one. */
  #journal: Promise<StageJournal | undefined>;
  /** The making of a journal, which takes longer than a commit may wait. */
  #making: Promise<void> | undefined;
  /** Open for writing once this process has written it. */
  #slots: SlotFile | undefined;
  /** What this process last read or wrote as the committed checkpoint; `unknown` after a failed write. */
  #current: Uint8Array | undefined | 'unknown' = 'unknown';
  #temporaries = 0;

  constructor(directory: string, { journalBytes = 8 * 1024 * 1024, movedTo }: DirectoryStorageOptions) {
    this.name = directory;
    this.#writer = join(directory, writerDir);
    this.#stages = join(this.#writer, 'stages');
    this.#committed = join(this.#writer, 'committed');
    this.#journalPath = join(this.#writer, 'journal');
    this.#journalBytes = journalBytes;
    makeDirectory(directory, 0o755);
    makeDirectory(this.#writer, 0o700);
    this.#lock = lockDirectory(join(this.#writer, 'lock'), directory);
    try {
      refuseMoved(directory, movedTo);
      makeDirectory(this.#stages, 0o700);
      for (const path of [dirname(directory), directory, this.#writer]) syncNow(path);
      syncAbove(dirname(directory));
      removeTemporaries(this.#writer);
    } catch (error) {
      this.#lock.release();
      throw error;
    }
    this.#journal = StageJournal.open(this.#journalPath);
    this.#journal.catch(() => {});
  }

  async loadCheckpoint(): Promise<Uint8Array | undefined> {
    await this.#closeSlots();
    const found = await readSlotFile(this.#committed);
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
    if (this.#slots === undefined) this.#slots = await SlotFile.create(this.#committed, this.#temporary(), next);
    else await this.#slots.write(next);
    this.#current = next;
  }

  async stage(name: string, bytes: Uint8Array): Promise<void> {
    const journal = await this.#journal;
    if (await journal?.append(name, bytes)) return;
    await writeWhole(join(this.#stages, name), bytes, privateFile);
    await syncPath(this.#stages);
    if (journal === undefined) this.#making ??= this.#makeJournal();
  }

  async listStages(): Promise<string[]> {
    const journal = await this.#journal;
    return [...new Set([...(journal?.names() ?? []), ...(await fs.promises.readdir(this.#stages))])];
  }

  async fetchStage(name: string): Promise<Uint8Array> {
    const journal = await this.#journal;
    return (await journal?.fetch(name)) ?? fs.promises.readFile(join(this.#stages, name));
  }

  async discardStages(names: readonly string[], durable: boolean): Promise<void> {
    const journal = await this.#journal;
    const inJournal = new Set(journal?.names());
    await journal?.discard(names, durable);
    const files = names.filter((name) => !inJournal.has(name));
    for (const name of files) await fs.promises.rm(join(this.#stages, name), { force: true });
    if (durable && files.length > 0) await syncPath(this.#stages);
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
    try {
      await this.#making;
      const journal = await this.#journal.catch(() => undefined);
      await journal?.close();
      await this.#closeSlots();
    } finally {
      this.#lock.release();
    }
  }

  /** Never rejects: a disk without room for a journal takes stages as files, more slowly, until the next opening. */
  async #makeJournal(): Promise<void> {
    const made = await StageJournal.create(this.#journalPath, this.#temporary(), this.#journalBytes).catch(
      () => undefined,
    );
    if (made !== undefined) this.#journal = Promise.resolve(made);
  }

  async #closeSlots(): Promise<void> {
    const slots = this.#slots;
    this.#slots = undefined;
    await slots?.close();
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

/** Makes a directory unless it is there; chmod because a umask would otherwise hide the log from its web server. */
function makeDirectory(path: string, mode: number): void {
  if (fs.existsSync(path)) return;
  makeDirectories(path, mode);
  fs.chmodSync(path, mode);
}

/** The names of directories above, which this process or one that was killed may have made; those that it may open. */
function syncAbove(directory: string): void {
  for (let at = resolve(directory); at !== dirname(at); at = dirname(at)) {
    try {
      syncNow(dirname(at));
    } catch {
      // It was not made by this user, who may not read it.
    }
  }
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
