import { AppError } from '../errors.js';

/** A file of an archive; `name` has at most 100 bytes of ASCII, `/` between directories. */
export interface ArchivedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const blockBytes = 512;

/**
 * A tar archive (POSIX.1-1988 ustar) of files for everybody to read, in the order given. No owner and no time is in it, so
 * the same files make the same bytes, everywhere and always.
 */
export function tarArchive(files: readonly ArchivedFile[]): Uint8Array {
  const blocks = files.flatMap(({ name, bytes }) => [header(name, bytes.length), bytes, padding(bytes.length)]);
  return Buffer.concat([...blocks, Buffer.alloc(2 * blockBytes)]);
}

function padding(length: number): Uint8Array {
  return Buffer.alloc((blockBytes - (length % blockBytes)) % blockBytes);
}

function header(name: string, size: number): Uint8Array {
  if (!/^[\w./-]{1,100}$/.test(name)) throw new AppError('INTERNAL', `"${name}" cannot be a name in a tar archive`);
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0');
  const put = (text: string, offset: number): void => void block.write(text, offset, 'latin1');
  put(name, 0);
  put(octal(0o644, 7), 100);
  put(octal(0, 7), 108); // uid
  put(octal(0, 7), 116); // gid
  put(octal(size, 11), 124);
  put(octal(0, 11), 136); // time
  put(' '.repeat(8), 148);
  put('0', 156); // a file
  put('ustar\u000000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(`${octal(sum, 6)}\u0000 `, 148);
  return block;
}
