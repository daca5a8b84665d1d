import fs from 'node:fs';
import { promisify } from 'node:util';

/** The calls by which a trail's files are changed: a parameter, so that tests can have each of them fail. */
export interface Disk {
  /** Opens for reading and writing; creates with mode 0640 if missing. */
  open(path: string): Promise<number>;
  /** Writes all of `bytes` at an offset; on failure any part of them may have been written. */
  write(fd: number, bytes: Uint8Array, position: number | null): Promise<void>;
  /** fdatasync. */
  sync(fd: number): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Makes the names in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  close(fd: number): Promise<void>;
}

const open = promisify(fs.open);
const write = promisify(fs.write);
const close = promisify(fs.close);
const fdatasync = promisify(fs.fdatasync);
const fsync = promisify(fs.fsync);
const rename = promisify(fs.rename);

/** For the operator and a group that ships the lines, not for everybody: they name everyone who signed. */
const mode = 0o640;

export const disk: Disk = {
  open: (path) => open(path, fs.constants.O_RDWR | fs.constants.O_CREAT, mode),
  async write(fd, bytes, position) {
    for (let done = 0; done < bytes.length; ) {
      const at = position === null ? null : position + done;
      done += (await write(fd, bytes, done, bytes.length - done, at)).bytesWritten;
    }
  },
  sync: fdatasync,
  rename,
  async syncDirectory(path) {
    const fd = await open(path, 'r');
    try {
      await fsync(fd);
    } finally {
      await close(fd);
    }
  },
  close,
};
