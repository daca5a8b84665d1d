import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Disk } from './disk.js';
import type { HeadFile, NotedHead } from './head-file.js';
import type { TrailFiles, TrailOutput } from './output.js';

/**
 * A trail in files: `path` is the one being written, those set aside lie beside it. Writes go to fixed offsets, so that a
 * write repeated after a failure puts the same bytes in the same place: after a failed fsync the kernel may have
 * dropped what it could not write, and only writing it again makes it durable.
 */
export class TrailFile implements TrailOutput {
  readonly name: string;
  readonly files: TrailFiles;
  readonly #disk: Disk;
  readonly #heads: HeadFile;
  #fd: number;
  #size: number;
  /** A file that `next` has made and not yet taken into use. */
  #begun: number | undefined;

  /** `fd` is open on `path`, whose first `size` bytes are whole lines. */
  constructor(path: string, fd: number, size: number, disk: Disk, heads: HeadFile) {
    this.name = path;
    this.#fd = fd;
    this.#size = size;
    this.#disk = disk;
    this.#heads = heads;
    this.files = {
      next: (archive, bytes) => this.#next(archive, bytes),
      moved: () => !isSame(this.#fd, path),
      archiveName: (time, seq) => archiveName(path, time, seq),
    };
  }

  get size(): number {
    return this.#size;
  }

  async append(bytes: Uint8Array): Promise<void> {
    await this.#disk.write(this.#fd, bytes, this.#size);
    await this.#disk.sync(this.#fd);
    this.#size += bytes.length;
  }

  note(head: NotedHead): void {
    this.#heads.note(head);
  }

  async close(): Promise<void> {
    await this.#heads.close();
    await this.#disk.close(this.#fd);
    if (this.#begun !== undefined) await this.#disk.close(this.#begun);
  }

  async #next(archive: string, bytes: Uint8Array): Promise<void> {
    const directory = dirname(this.name);
    if (this.#begun === undefined) {
      if (isSame(this.#fd, this.name)) await this.#disk.rename(this.name, join(directory, archive));
      const fd = await this.#disk.open(this.name);
      const found = fs.fstatSync(fd).size;
      if (found > 0) {
        await this.#disk.close(fd);
        throw new Error(`${this.name} was made by somebody else, with ${found} bytes in it`);
      }
      this.#begun = fd;
    }
    const fd = this.#begun;
    await this.#disk.write(fd, bytes, 0);
    await this.#disk.sync(fd);
    await this.#disk.syncDirectory(directory);
    const before = this.#fd;
    [this.#fd, this.#size, this.#begun] = [fd, bytes.length, undefined];
    await this.#disk.close(before).catch(() => {});
  }
}

/** `audit.jsonl.20260102T030405Z-17`: sorts by time, and names its last line. */
function archiveName(path: string, time: number, seq: number): string {
  const stamp = new Date(time).toISOString().replace(/[-:]|\.\d+/g, '');
  return `${basename(path)}.${stamp}-${seq}`;
}

function isSame(fd: number, path: string): boolean {
  const there = fs.statSync(path, { throwIfNoEntry: false });
  const open = fs.fstatSync(fd);
  return there !== undefined && there.ino === open.ino && there.dev === open.dev;
}
