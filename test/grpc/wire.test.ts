import fc from 'fast-check';
import { lastFieldOf } from '../../src/grpc/wire.js';

/** Encoded fields of every wire type, with their numbers. */
const field = fc.oneof(
  record(0, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(varint)),
  record(1, fc.uint8Array({ minLength: 8, maxLength: 8 })),
  record(
    2,
    fc.uint8Array({ maxLength: 300 }).map((bytes) => [...varint(BigInt(bytes.length)), ...bytes]),
  ),
  record(5, fc.uint8Array({ minLength: 4, maxLength: 4 })),
);

function record(type: number, value: fc.Arbitrary<ArrayLike<number>>) {
  const number = fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 2 ** 29 - 1 }));
  return fc.tuple(number, value).map(([number, bytes]) => ({
    number,
    bytes: [...varint(BigInt(number) * 8n + BigInt(type)), ...Array.from(bytes)],
  }));
}

function varint(value: bigint): number[] {
  return value < 128n ? [Number(value)] : [Number(value & 127n) | 128, ...varint(value >> 7n)];
}

test('lastFieldOf finds the last of the wanted fields among fields of every kind', () => {
  fc.assert(
    fc.property(fc.array(field), (fields) => {
      const message = Uint8Array.from(fields.flatMap(({ bytes }) => bytes));
      const expected = fields.map(({ number }) => number).findLast((number) => number === 2 || number === 3);
      expect(lastFieldOf(message, [2, 3])).toBe(expected);
    }),
  );
});

test('lastFieldOf does not look into groups', () => {
  const inGroup = [0x0b, 0x1a, 0, 0x0c];
  expect(lastFieldOf(Uint8Array.from([0x12, 0, ...inGroup]), [2, 3])).toBe(2);
  expect(lastFieldOf(Uint8Array.from([...inGroup, 0x1a, 0]), [2, 3])).toBe(3);
});

test('lastFieldOf ends on any bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect([undefined, 2, 3]).toContain(lastFieldOf(bytes, [2, 3]));
    }),
  );
});

test('lastFieldOf reads four megabytes of group starts without recursion', () => {
  expect(lastFieldOf(new Uint8Array(4 * 1024 * 1024).fill(0x1b), [2, 3])).toBe(3);
});
