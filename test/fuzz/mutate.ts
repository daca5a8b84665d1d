import { hostileNames, hostileText, hostileValues } from './hostile.js';
import type { Random } from './random.js';

const interestingBytes = [0x00, 0x01, 0x7f, 0x80, 0x81, 0x84, 0xff, 0x0a, 0x0d, 0x20, 0x22, 0x25, 0x2e, 0x30, 0x5c];

type BytesChange = (random: Random, bytes: Buffer, at: number) => Buffer;

const byteChanges: readonly BytesChange[] = [
  (random, bytes, at) => withByte(bytes, at, (bytes[at] ?? 0) ^ (1 << random.below(8))),
  (random, bytes, at) => withByte(bytes, at, random.pick(interestingBytes)),
  (random, bytes, at) => withByte(bytes, at, random.below(256)),
  (random, bytes, at) => Buffer.concat([bytes.subarray(0, at), random.bytes(1 + random.below(8)), bytes.subarray(at)]),
  (random, bytes, at) => Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(16))]),
  (random, bytes, at) => {
    const piece = bytes.subarray(at, at + 1 + random.below(64));
    return Buffer.concat([bytes.subarray(0, at), piece, piece, bytes.subarray(at + piece.length)]);
  },
  (_random, bytes, at) => bytes.subarray(0, at),
  (_random, bytes, at) => bytes.subarray(at),
  (random, bytes) => Buffer.concat([bytes, random.bytes(1 + random.below(32))]),
];

function withByte(bytes: Buffer, at: number, value: number): Buffer {
  const changed = Buffer.from(bytes);
  if (at < changed.length) changed[at] = value;
  return changed;
}

/** One to four changes of any bytes. */
export function mutateBytes(random: Random, bytes: Uint8Array): Buffer {
  let changed = Buffer.from(bytes);
  for (let i = 1 + random.below(4); i > 0; i--) {
    changed = Buffer.from(random.pick(byteChanges)(random, changed, random.below(changed.length + 1)));
  }
  return changed;
}

/** One to three changes of text: hostile strings put in or over, pieces left out, doubled or moved. */
export function mutateText(random: Random, text: string): string {
  let changed = text;
  for (let i = 1 + random.below(3); i > 0; i--) {
    const at = random.below(changed.length + 1);
    const end = Math.min(changed.length, at + random.below(12));
    const put = random.pick(['', hostileText(random), changed.slice(at, end).repeat(2), changed.slice(0, at % 40)]);
    changed = changed.slice(0, at) + put + changed.slice(random.chance(0.5) ? at : end);
  }
  return changed;
}

/** A JSON value with one to three of its parts replaced, left out, renamed, wrapped or added to. */
export function mutateJson(random: Random, value: unknown): unknown {
  let changed = value;
  for (let i = 1 + random.below(3); i > 0; i--) changed = changeSomewhere(random, changed, 0);
  return changed;
}

function changeSomewhere(random: Random, value: unknown, depth: number): unknown {
  const isContainer = typeof value === 'object' && value !== null;
  if (isContainer && depth < 6 && random.chance(depth === 0 ? 0.97 : 0.7)) {
    return Array.isArray(value) ? changeArray(random, value, depth) : changeObject(random, value, depth);
  }
  return changeLeaf(random, value);
}

function changeLeaf(random: Random, value: unknown): unknown {
  if (typeof value === 'string' && random.chance(0.6)) return mutateText(random, value);
  if (typeof value === 'number' && random.chance(0.3)) return value * random.pick([-1, 10, 1000, 0.5]);
  if (random.chance(0.1)) return [value];
  return random.pick(hostileValues);
}

function changeArray(random: Random, items: readonly unknown[], depth: number): unknown {
  const at = random.below(items.length + 1);
  if (random.chance(0.2)) return items.filter((_item, i) => i !== at);
  if (random.chance(0.2)) return [...items.slice(0, at), random.pick(hostileValues), ...items.slice(at)];
  if (random.chance(0.1)) return [...items, ...items];
  return items.map((item, i) => (i === at ? changeSomewhere(random, item, depth + 1) : item));
}

function changeObject(random: Random, object: object, depth: number): unknown {
  const entries = Object.entries(object);
  const at = random.below(entries.length + 1);
  if (random.chance(0.1)) entries.splice(at, 1);
  else if (random.chance(0.15)) entries.splice(at, 0, [random.pick(hostileNames), random.pick(hostileValues)]);
  else {
    const entry = entries[Math.min(at, entries.length - 1)];
    if (entry !== undefined && random.chance(0.1)) entry[0] = random.pick([entry[0].toUpperCase(), `${entry[0]} `]);
    else if (entry !== undefined) entry[1] = changeSomewhere(random, entry[1], depth + 1);
  }
  return Object.fromEntries(entries);
}

/** JSON text of a value, now and then with a key twice, a broken escape, other white space or something after it. */
export function jsonText(random: Random, value: unknown): string {
  const text = JSON.stringify(value) ?? 'null';
  if (random.chance(0.9)) return text;
  return random.pick<(text: string) => string>([
    (json) => json.replace('{', `{"${random.pick(hostileNames)}":1,`),
    (json) => json.replace(/"([^"\\]+)":([^,{}[\]]+)/, '"$1":$2,"$1":$2'),
    (json) => json.replace(/"([a-z])/, (_all, letter: string) => `"\\u00${letter.charCodeAt(0).toString(16)}`),
    (json) => json.replace(/[a-z]/, '\\ud800'),
    (json) => `${json} ${random.pick(['{}', '0', ',', '}', '\u0000'])}`,
    (json) => `\ufeff${json}`,
    (json) => `${' '.repeat(random.below(500))}${json}\n`,
    (json) => '['.repeat(random.below(3_000)) + json,
    (json) => mutateText(random, json),
  ])(text);
}
