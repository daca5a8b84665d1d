/**
 * Which of the given fields comes last in an encoded protocol buffers message, or undefined if none does
 * (https://protobuf.dev/programming-guides/encoding/). In a oneof that member counts, and protobufjs, which keeps
 * every member, cannot tell. Reads the top level only; stops quietly where the bytes are no message.
 */
export function lastFieldOf(message: Uint8Array, wanted: readonly number[]): number | undefined {
  let last: number | undefined;
  let offset = 0;
  let groups = 0;
  while (offset < message.length) {
    const tag = varint(message, offset);
    if (tag === undefined) break;
    const field = Math.floor(tag.value / 8);
    const type = tag.value % 8;
    if (groups === 0 && wanted.includes(field)) last = field;
    if (type === wireType.startGroup) groups++;
    if (type === wireType.endGroup) groups--;
    const next = endOfValue(message, tag.end, type);
    if (next === undefined) break;
    offset = next;
  }
  return last;
}

const wireType = { varint: 0, fixed64: 1, bytes: 2, startGroup: 3, endGroup: 4, fixed32: 5 } as const;

const sizes: Readonly<Record<number, number>> = {
  [wireType.fixed64]: 8,
  [wireType.startGroup]: 0,
  [wireType.endGroup]: 0,
  [wireType.fixed32]: 4,
};

function endOfValue(message: Uint8Array, offset: number, type: number): number | undefined {
  if (type === wireType.varint) return varint(message, offset)?.end;
  if (type === wireType.bytes) {
    const length = varint(message, offset);
    return length === undefined ? undefined : length.end + length.value;
  }
  const size = sizes[type];
  return size === undefined ? undefined : offset + size;
}

/** A base-128 number of at most ten bytes; beyond 2^53 it is inexact, which no length or tag within a message is. */
function varint(message: Uint8Array, start: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let index = 0; index < 10; index++) {
    const byte = message[start + index];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return { value, end: start + index + 1 };
  }
  return undefined;
}
