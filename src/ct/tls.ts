/**
 * The TLS presentation language (RFC 8446 Section 3) as far as RFC 6962 uses it: big-endian integers and
 * length-prefixed vectors.
 */

/** A malformed TLS structure: says which field, what was found and what was expected. */
export class TlsDecodeError extends Error {
  override readonly name = 'TlsDecodeError';
}

/** A big-endian unsigned integer of `width` bytes (1 to 6), or of 8 bytes when given a bigint. */
export function uint(value: number | bigint, width: number): Uint8Array {
  const bytes = Buffer.alloc(width);
  if (typeof value === 'bigint') bytes.writeBigUInt64BE(value);
  else bytes.writeUIntBE(value, 0, width);
  return bytes;
}

/** `bytes` with its length before it, in `width` bytes; throws RangeError when it is too long for that. */
export function vector(bytes: Uint8Array, width: number): Uint8Array {
  return Buffer.concat([uint(bytes.length, width), bytes]);
}

/** Writes a TLS structure front to back into one buffer; every write throws RangeError when it does not fit. */
export class TlsWriter {
  readonly #buffer: Buffer;
  #at = 0;

  /** `size` is the whole structure's, in bytes. */
  constructor(size: number) {
    this.#buffer = Buffer.allocUnsafe(size);
  }

  /** A big-endian unsigned integer of `width` bytes, 1 to 6. */
  uint(value: number, width: number): this {
    this.#at = this.#buffer.writeUIntBE(value, this.#at, width);
    return this;
  }

  uint64(value: bigint): this {
    this.#at = this.#buffer.writeBigUInt64BE(value, this.#at);
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** `value` with its length before it, in `width` bytes. */
  vector(value: Uint8Array, width: number): this {
    return this.uint(value.length, width).bytes(value);
  }

  /** The structure; throws RangeError when it is shorter than it was to be. */
  finish(): Buffer {
    if (this.#at !== this.#buffer.length) throw new RangeError(`${this.#buffer.length - this.#at} bytes are missing`);
    return this.#buffer;
  }
}

/** Reads a TLS structure front to back; every read throws TlsDecodeError when the bytes end too early. */
export class TlsReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #offset = 0;

  /** `what` names the structure in error messages. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  /** Position of the next byte to be read. */
  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** An unsigned integer of `width` bytes, 1 to 6. */
  uint(width: number, field: string): number {
    const at = this.#advance(width, field);
    return this.#bytes.readUIntBE(at, width);
  }

  uint64(field: string): bigint {
    return this.#bytes.readBigUInt64BE(this.#advance(8, field));
  }

  /** The next `length` bytes, as a view of the input. */
  bytes(length: number, field: string): Uint8Array {
    const at = this.#advance(length, field);
    return this.#bytes.subarray(at, at + length);
  }

  /** A vector with a length prefix of `width` bytes, as a view of the input. */
  vector(width: number, field: string): Uint8Array {
    return this.bytes(this.uint(width, field), field);
  }

  /** Throws TlsDecodeError when bytes are left over. */
  end(): void {
    if (this.remaining > 0) throw this.error(`${this.remaining} bytes left over after its end`);
  }

  error(detail: string): TlsDecodeError {
    return new TlsDecodeError(`${this.#what}: ${detail}`);
  }

  #advance(length: number, field: string): number {
    const at = this.#offset;
    if (length > this.remaining) {
      throw this.error(`${field} needs ${length} bytes at offset ${at}, but only ${this.remaining} are left`);
    }
    this.#offset += length;
    return at;
  }
}
