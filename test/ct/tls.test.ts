import fc from 'fast-check';
import { TlsReader, TlsWriter, uint, vector } from '../../src/ct/tls.js';

const bytes = fc.uint8Array({ maxLength: 300 }).map((value) => Buffer.from(value));

test('what is written in one buffer is what its parts make, and is read back', () => {
  fc.assert(
    fc.property(
      fc.nat(0xffff),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      bytes,
      bytes,
      (number, large, raw, list) => {
        const writer = new TlsWriter(3 + 8 + raw.length + 2 + list.length);
        const written = writer.uint(number, 3).uint64(large).bytes(raw).vector(list, 2).finish();
        expect(written).toEqual(Buffer.concat([uint(number, 3), uint(large, 8), raw, vector(list, 2)]));
        const reader = new TlsReader(written, 'all of it');
        expect(reader.uint(3, 'number')).toBe(number);
        expect(reader.uint64('large')).toBe(large);
        expect(reader.bytes(raw.length, 'raw')).toEqual(raw);
        expect(reader.vector(2, 'list')).toEqual(list);
        reader.end();
      },
    ),
  );
});

test('a structure that is longer or shorter than it was to be is refused', () => {
  expect(() => new TlsWriter(3).bytes(Buffer.alloc(4))).toThrow('out of');
  expect(() => new TlsWriter(3).uint(1, 4)).toThrow('outside buffer bounds');
  expect(() => new TlsWriter(3).uint64(1n)).toThrow('outside buffer bounds');
  expect(() => new TlsWriter(3).uint(1, 2).finish()).toThrow('1 bytes are missing');
});

test('a number or a vector that is too large for its width is refused', () => {
  expect(() => new TlsWriter(1).uint(256, 1)).toThrow('out of range');
  expect(() => new TlsWriter(300).vector(Buffer.alloc(256), 1)).toThrow('out of range');
});
