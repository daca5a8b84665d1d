import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { uint } from '../ct/tls.js';
import { AppError } from '../errors.js';
import {
  closeFile,
  openDurable,
  paddedToPages,
  pageBytes,
  readIfExists,
  replaceFile,
  syncPath,
  writeDurably,
} from './durable-file.js';

/**
 * A small value in a file that is replaced durably by one write. The file never changes its length, so
 * that nothing but the data has to reach the disk; create, rename and the directory's fsync would take several times as
 * long.
 *
 * A page that says what the file is, and two slots that are written in turn: CRC-32 of what follows, sequence number,
 * length, value. The valid slot with the higher number counts. A write that is torn spoils its own slot only, and the
 * other one holds the value before. A file without that first page is the value itself: so older versions wrote it.
 */
export class SlotFile {
  readonly #fd: number;
  /** The slot to be written next, and its number. */
  #next: { slot: number; sequence: number };

  private constructor(fd: number) {
    this.#fd = fd;
    this.#next = { slot: 1, sequence: 2 };
  }

  /**
   * Makes the file anew by way of `temporary`, holding `value`. Every opening does: what an earlier process left in the
   * file is perhaps not on disk, and the slot beside it must not be written over before that is certain.
   */
  static async create(path: string, temporary: string, value: Uint8Array): Promise<SlotFile> {
    const whole = Buffer.alloc(slotOffset(2));
    whole.set(signature);
    whole.set(encodeSlot(1, value), slotOffset(0));
    await replaceFile(path, temporary, whole, { mode: 0o600, sync: true });
    await syncPath(dirname(path));
    return new SlotFile(await openDurable(path));
  }

  /** Durable when it resolves. After a rejection the file holds this value or the one before; make it anew. */
  async write(value: Uint8Array): Promise<void> {
    const { slot, sequence } = this.#next;
    await writeDurably(this.#fd, encodeSlot(sequence, value), slotOffset(slot));
    this.#next = { slot: 1 - slot, sequence: sequence + 1 };
  }

  close(): Promise<void> {
    return closeFile(this.#fd);
  }
}

/** The value in such a file, undefined when there is no file; throws AppError STARTUP when neither slot is valid. */
export async function readSlotFile(path: string): Promise<Uint8Array | undefined> {
  const bytes = await readIfExists(path);
  if (bytes === undefined || Buffer.compare(bytes.subarray(0, signature.length), signature) !== 0) return bytes;
  const slots = [0, 1].flatMap((slot) =>
    decodeSlot(Buffer.from(bytes.subarray(slotOffset(slot), slotOffset(slot + 1)))),
  );
  const [newest] = slots.sort((a, b) => b.sequence - a.sequence);
  if (newest !== undefined) return newest.value;
  throw new AppError(
    'STARTUP',
    `${path} is damaged: neither of its two slots is whole. One write can spoil only one of them, so the disk lost ` +
      'data. Nothing was signed. If the published checkpoint beside it is the newest that anybody saw, copy that over ' +
      'this file; if not, this log must not go on',
  );
}

const signature = Buffer.from('mayfly: value in two slots\n');
/** A checkpoint may be 64 KiB long. */
const slotBytes = 17 * pageBytes;
const headBytes = 4 + 6 + 4;

function slotOffset(slot: number): number {
  return pageBytes + slot * slotBytes;
}

function encodeSlot(sequence: number, value: Uint8Array): Uint8Array {
  const body = Buffer.concat([uint(sequence, 6), uint(value.length, 4), value]);
  if (4 + body.length > slotBytes) throw new RangeError(`a value of ${value.length} bytes does not fit its slot`);
  return paddedToPages([uint(crc32(body), 4), body]);
}

function decodeSlot(slot: Buffer): { sequence: number; value: Uint8Array }[] {
  if (slot.length < headBytes) return [];
  const [sequence, length] = [slot.readUIntBE(4, 6), slot.readUInt32BE(10)];
  if (sequence === 0 || length > slot.length - headBytes) return [];
  if (slot.readUInt32BE(0) !== crc32(slot.subarray(4, headBytes + length))) return [];
  return [{ sequence, value: slot.subarray(headBytes, headBytes + length) }];
}
