import { mutateBytes } from './mutate.js';
import type { Random } from './random.js';

interface Node {
  tag: number;
  children: Node[] | undefined;
  content: Buffer;
}

const constructed = 0x20;

/** A loose reading of DER: good for taking valid structures apart, never a judge of them. */
function parse(bytes: Buffer, depth = 0): Node[] | undefined {
  const nodes: Node[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at] ?? 0;
    const first = bytes[at + 1] ?? 0;
    const width = first < 0x80 ? 0 : first & 0x7f;
    if (width > 4 || at + 2 + width > bytes.length) return undefined;
    const length = width === 0 ? first : bytes.readUIntBE(at + 2, width);
    const start = at + 2 + width;
    if (start + length > bytes.length) return undefined;
    const content = bytes.subarray(start, start + length);
    const children = (tag & constructed) !== 0 && depth < 20 ? parse(content, depth + 1) : undefined;
    nodes.push({ tag, children, content });
    at = start + length;
  }
  return nodes;
}

function encode(random: Random, nodes: readonly Node[], oddLengths: number): Buffer {
  return Buffer.concat(
    nodes.flatMap((node) => {
      const content = node.children === undefined ? node.content : encode(random, node.children, oddLengths);
      return [Buffer.from([node.tag]), lengthOf(random, content.length, oddLengths), content];
    }),
  );
}

function lengthOf(random: Random, length: number, oddLengths: number): Buffer {
  if (random.chance(oddLengths)) {
    return random.pick([
      Buffer.from([0x80]),
      Buffer.from([0x84, 0, 0, length >> 8, length & 0xff]),
      Buffer.from([0x84, 0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0x83, 0x7f, 0xff, 0xff]),
      Buffer.from([(length + 1) & 0x7f]),
      Buffer.from([0xff]),
    ]);
  }
  if (length < 0x80) return Buffer.from([length]);
  return length < 0x100 ? Buffer.from([0x81, length]) : Buffer.from([0x82, length >> 8, length & 0xff]);
}

const flatten = (nodes: readonly Node[]): Node[] =>
  nodes.flatMap((node) => [node, ...(node.children === undefined ? [] : flatten(node.children))]);

const tags = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x17, 0x18, 0x1f, 0x30, 0x31, 0x80, 0xa0, 0xa3, 0xff];

type Change = (random: Random, node: Node) => void;

const changes: readonly Change[] = [
  (random, node) => {
    node.tag = random.pick(tags);
  },
  (random, node) => {
    node.content = mutateBytes(random, node.content);
    node.children = undefined;
  },
  (random, node) => {
    node.children?.splice(random.below(node.children.length + 1), 1);
  },
  (random, node) => {
    const child = node.children?.[random.below(node.children.length)];
    if (child !== undefined) node.children?.push(child);
  },
  (random, node) => {
    node.children?.splice(random.below(2), 0, {
      tag: random.pick(tags),
      children: undefined,
      content: random.bytes(3),
    });
  },
  (_random, node) => {
    node.children?.reverse();
  },
  (random, node) => {
    for (let i = random.below(80); i > 0; i--) {
      const inner = { ...node };
      node.tag = 0x30;
      node.children = [inner];
    }
  },
  (_random, node) => {
    node.content = Buffer.alloc(0);
    node.children = undefined;
  },
];

/** DER with some of its elements retagged, refilled, left out, doubled, moved or wrapped; lengths fit, mostly. */
export function mutateDer(random: Random, der: Uint8Array): Buffer {
  const nodes = parse(Buffer.from(der));
  if (nodes === undefined || random.chance(0.2)) return mutateBytes(random, der);
  for (let i = 1 + random.below(2); i > 0; i--) random.pick(changes)(random, random.pick(flatten(nodes)));
  return encode(random, nodes, random.chance(0.2) ? 0.1 : 0);
}
