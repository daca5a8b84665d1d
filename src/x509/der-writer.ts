/**
 * Writes DER from its end to its start, so that each length is known when its header is written and nothing is copied
 * twice: write the content, last part first, then `close` it.
 */
export class DerWriter {
  #buffer: Buffer;
  #start: number;

  /** @param capacity expected size in bytes; the buffer grows beyond it when needed. */
  constructor(capacity: number) {
    this.#buffer = Buffer.allocUnsafe(capacity);
    this.#start = capacity;
  }

  /** Number of bytes written so far: pass it to `close` to say where an element's content ends. */
  get mark(): number {
    return this.#buffer.length - this.#start;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#start -= bytes.length;
    this.#buffer.set(bytes, this.#start);
  }

  /** UTF-8; the caller has refused lone surrogates. */
  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.#reserve(length);
    this.#start -= length;
    this.#buffer.write(value, this.#start, length, 'utf8');
  }

  /** Puts a header before everything written since `mark`. */
  close(tagByte: number, mark: number): void {
    const length = this.mark - mark;
    this.#reserve(6);
    if (length < 0x80) this.#buffer[--this.#start] = length;
    else {
      let size = 0;
      for (let rest = length; rest > 0; rest = Math.floor(rest / 256), size++)
        this.#buffer[--this.#start] = rest & 0xff;
      this.#buffer[--this.#start] = 0x80 | size;
    }
    this.#buffer[--this.#start] = tagByte;
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return new Uint8Array(this.#buffer.subarray(this.#start));
  }

  #reserve(size: number): void {
    if (size <= this.#start) return;
    const grown = Buffer.allocUnsafe(this.#buffer.length * 2 + size);
    const start = grown.length - this.mark;
    grown.set(this.#buffer.subarray(this.#start), start);
    this.#buffer = grown;
    this.#start = start;
  }
}
