import { createPublicKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { logIdOf } from '../../src/ct/sct.js';
import { TlsDecodeError } from '../../src/ct/tls.js';
import {
  CheckpointError,
  formatCheckpoint,
  noteKeyId,
  openCheckpoint,
  signTreeHead,
} from '../../src/ctlog/checkpoint.js';
import { committedStages, decodeStage, encodeStage, type Stage } from '../../src/ctlog/stage.js';
import { decodeDataTile, decodeTileLeaf, encodeTileLeaf, hashOf } from '../../src/ctlog/tile-leaf.js';
import { parseTilePath, partialTiles, tilePath } from '../../src/ctlog/tiles.js';
import { newLogKey, origin } from './fixtures.js';

describe('tile paths', () => {
  test.each([
    [{ kind: 0, index: 1234067, width: 256 }, 'tile/0/x001/x234/067'],
    [{ kind: 'data', index: 0, width: 1 }, 'tile/data/000.p/1'],
    [{ kind: 5, index: 999, width: 255 }, 'tile/5/999.p/255'],
    [{ kind: 1, index: 1000, width: 256 }, 'tile/1/x001/000'],
  ] as const)('%j is %s', (tile, path) => {
    expect(tilePath(tile)).toBe(path);
    expect(parseTilePath(path)).toEqual(tile);
  });

  test.each([
    'tile/0/../../.writer/committed',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/300',
    'tile/0/000.p/01',
    'tile/0/x000/001',
    'tile/0/1',
    'tile/6/000',
    'tile/00/000',
    'tile/0/x001/x002',
    'tile/0/000/',
    'tile/data/000.p',
    'tile/-1/000',
    'tile/0/000\n',
  ])('%j is no tile', (path) => {
    expect(parseTilePath(path)).toBeUndefined();
  });

  test('every tile is found again by its path', () => {
    const tiles = fc.record({
      kind: fc.constantFrom(0, 1, 2, 3, 4, 5, 'data' as const),
      index: fc.nat({ max: 2 ** 40 / 256 }),
      width: fc.integer({ min: 1, max: 256 }),
    });
    fc.assert(fc.property(tiles, (tile) => expect(parseTilePath(tilePath(tile))).toEqual(tile)));
  });

  test('a tree of 70,000 leaves ends in the partial tiles of the specification', () => {
    expect(partialTiles(70_000).map(tilePath)).toEqual([
      'tile/data/273.p/112',
      'tile/0/273.p/112',
      'tile/1/001.p/17',
      'tile/2/000.p/1',
    ]);
    expect(partialTiles(256).map(tilePath)).toEqual(['tile/1/000.p/1']);
  });
});

const leafArbitrary = fc.record({
  timestampedEntry: fc.record({
    timestamp: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    entry: fc.record({
      type: fc.constant('precert' as const),
      issuerKeyHash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      tbs: fc.uint8Array({ maxLength: 300 }),
    }),
    extensions: fc.uint8Array({ maxLength: 20 }),
  }),
  precertificate: fc.uint8Array({ maxLength: 400 }),
  chainFingerprints: fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }), { maxLength: 4 }),
});

describe('data tiles', () => {
  test('what is encoded is decoded, one by one and as a tile', () => {
    fc.assert(
      fc.property(fc.array(leafArbitrary, { minLength: 1, maxLength: 5 }), (leaves) => {
        const encoded = leaves.map(encodeTileLeaf);
        const decoded = decodeDataTile(Buffer.concat(encoded.map(({ bytes }) => bytes)));
        decoded.forEach((leaf, i) => {
          const { bytes, merkleTreeLeaf, ...content } = leaf;
          expect(JSON.parse(strip(content))).toEqual(JSON.parse(strip(leaves[i])));
          expect(Buffer.from(bytes)).toEqual(encoded[i]?.bytes);
          expect(Buffer.from(hashOf(leaf))).toEqual(encoded[i]?.hash);
          expect(merkleTreeLeaf.subarray(0, 2)).toEqual(Buffer.of(0, 0));
        });
      }),
      { numRuns: 50 },
    );
  });

  test('an entry cut short or followed by anything is refused', () => {
    fc.assert(
      fc.property(leafArbitrary, fc.nat(), (leaf, at) => {
        const { bytes } = encodeTileLeaf(leaf);
        expect(() => decodeTileLeaf(bytes.subarray(0, at % bytes.length))).toThrow(TlsDecodeError);
        expect(() => decodeTileLeaf(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(TlsDecodeError);
      }),
      { numRuns: 100 },
    );
  });

  test('random bytes are refused or decoded, and never anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
        try {
          decodeDataTile(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(TlsDecodeError);
        }
      }),
    );
  });
});

/** Buffers and Uint8Arrays alike as arrays of numbers. */
function strip(value: unknown): string {
  return JSON.stringify(value, function replace(this: Record<string, unknown>, name, v) {
    const raw = this[name];
    if (raw instanceof Uint8Array) return Array.from(raw);
    return typeof v === 'bigint' ? String(v) : v;
  });
}

describe('checkpoints', () => {
  const key = newLogKey();
  const logKey = createPublicKey(key);
  const keyId = noteKeyId(origin, logIdOf(logKey));
  const head = { size: 70_000, root: randomBytes(32), timestamp: 1_700_000_000_123 };
  const note = Buffer.from(formatCheckpoint(signTreeHead(head, key), { origin, keyId })).toString();
  const open = (text: string) => openCheckpoint(Buffer.from(text), { origin, logKey });

  test('a checkpoint is three lines, an empty one, and a signature', () => {
    const lines = note.split('\n');
    expect(lines.slice(0, 4)).toEqual([origin, '70000', Buffer.from(head.root).toString('base64'), '']);
    expect(lines[4]).toMatch(new RegExp(`^— ${origin} [A-Za-z0-9+/=]+$`));
    expect(lines[5]).toBe('');
    expect(open(note)).toMatchObject({ size: head.size, timestamp: head.timestamp });
  });

  test('cosignatures of others are ignored', () => {
    expect(open(`${note}— witness.example.com/w1 ${randomBytes(70).toString('base64')}\n`)).toMatchObject({
      size: 70_000,
    });
  });

  const signature = note.split('\n')[4] ?? '';
  const another = formatCheckpoint(signTreeHead(head, newLogKey()), { origin, keyId });

  test.each([
    ['another size', note.replace('70000', '70001')],
    ['another root', note.replace(Buffer.from(head.root).toString('base64'), randomBytes(32).toString('base64'))],
    ['another origin', note.replaceAll(origin, 'ca.example.org/ctlog')],
    ['a signature by another key', Buffer.from(another).toString()],
    ['no signature', note.replace(`${signature}\n`, '')],
    ['the signature twice', `${note}${signature}\n`],
    ['an extension line', note.replace('\n\n', '\nextension\n\n')],
    ['a size with a leading zero', note.replace('70000', '070000')],
    ['a negative size', note.replace('70000', '-7')],
    ['CRLF', note.replaceAll('\n', '\r\n')],
    ['no newline at its end', note.trimEnd()],
    ['nothing', ''],
    ['text after it', `${note}more\n`],
    [
      'a signature too short to hold a timestamp',
      `${note.replace(signature, '')}— ${origin} ${Buffer.concat([keyId, Buffer.of(1)]).toString('base64')}\n`,
    ],
  ])('a checkpoint with %s is refused', (_, text) => {
    expect(() => open(text)).toThrow(CheckpointError);
  });

  test('bytes that are not UTF-8, or too many, are refused', () => {
    expect(() => openCheckpoint(Buffer.of(0xff, 0xfe), { origin, logKey })).toThrow(CheckpointError);
    expect(() => openCheckpoint(Buffer.alloc(100_000, 'a'), { origin, logKey })).toThrow(CheckpointError);
  });

  test('any change of a byte is refused or changes nothing that matters', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bytes = Buffer.from(note);
        bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ flip;
        expect(() => openCheckpoint(bytes, { origin, logKey })).toThrow(CheckpointError);
      }),
    );
  });
});

describe('stages', () => {
  const stage = (oldSize: number, newSize: number, oldRoot: Uint8Array, newRoot: Uint8Array): Stage => ({
    oldSize,
    newSize,
    oldRoot,
    newRoot,
    checkpoint: Buffer.from('checkpoint'),
    leaves: Array.from({ length: newSize - oldSize }, () => randomBytes(20)),
  });
  const [r0, r1, r2, r3] = [randomBytes(32), randomBytes(32), randomBytes(32), randomBytes(32)];

  test('a stage is read back, and refused when torn anywhere', () => {
    const one = stage(3, 7, r0, r1);
    const bytes = encodeStage(one);
    expect(JSON.parse(strip(decodeStage(bytes)))).toEqual(JSON.parse(strip(one)));
    for (let length = 0; length < bytes.length; length += 1) {
      expect(() => decodeStage(bytes.subarray(0, length))).toThrow(TlsDecodeError);
    }
  });

  test('only the chain that ends in the committed tree is committed', () => {
    const [a, b] = [stage(1, 3, r0, r1), stage(3, 5, r1, r2)];
    const rival = stage(3, 6, r1, r3);
    const stray = stage(0, 3, r0, r3);
    expect(committedStages([rival, b, stray, a], { size: 5, root: r2 })).toEqual([a, b]);
    expect(committedStages([rival, a], { size: 3, root: r1 })).toEqual([a]);
    expect(committedStages([rival, a, b], { size: 9, root: r0 })).toEqual([]);
  });
});
