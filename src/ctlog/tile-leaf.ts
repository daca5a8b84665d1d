import {
  encodeMerkleTreeLeaf,
  encodeTimestampedEntry,
  readTimestampedEntry,
  type TimestampedEntry,
} from '../ct/leaf.js';
import { TlsReader, TlsWriter } from '../ct/tls.js';
import { type Hash, leafHash } from './merkle.js';
import { hashBytes, type TileKind, tileWidth } from './tiles.js';

/** One entry of a data tile: TileLeaf of c2sp.org/static-ct-api, "Log entries". */
export interface TileLeaf {
  readonly timestampedEntry: TimestampedEntry;
  /** DER of the precertificate; present exactly for a precert entry. */
  readonly precertificate?: Uint8Array;
  /** SHA-256 of the DER of each certificate of the issuing chain, issuing CA first. */
  readonly chainFingerprints: readonly Uint8Array[];
}

/** A TileLeaf as it stands in the tile, and its leaf hash in the tree. */
export interface EncodedLeaf {
  readonly bytes: Uint8Array;
  readonly hash: Hash;
}

/** TLS bytes of a TileLeaf together with its leaf hash. */
export function encodeTileLeaf({ timestampedEntry, precertificate, chainFingerprints }: TileLeaf): EncodedLeaf {
  return tileLeafOf(encodeTimestampedEntry(timestampedEntry), precertificate, chainFingerprints);
}

/** The same from the TLS bytes of its TimestampedEntry. */
export function tileLeafOf(
  entry: Uint8Array,
  precertificate: Uint8Array | undefined,
  chainFingerprints: readonly Uint8Array[],
): EncodedLeaf {
  const before = precertificate === undefined ? 0 : 3 + precertificate.length;
  const chain = chainFingerprints.length * hashBytes;
  const writer = new TlsWriter(entry.length + before + 2 + chain).bytes(entry);
  if (precertificate !== undefined) writer.vector(precertificate, 3);
  writer.uint(chain, 2);
  for (const fingerprint of chainFingerprints) writer.bytes(fingerprint);
  return { bytes: writer.finish(), hash: leafHash(encodeMerkleTreeLeaf(entry)) };
}

/** A TileLeaf read back, with the bytes it was read from. */
export interface DecodedLeaf extends TileLeaf {
  readonly bytes: Uint8Array;
  /** TLS bytes of the MerkleTreeLeaf, `leaf_input` of RFC 6962 get-entries. */
  readonly merkleTreeLeaf: Uint8Array;
}

/**
 * The entries in a data tile, as views of its bytes; throws TlsDecodeError on anything but a sequence of one to 256
 * whole TileLeaf structs.
 */
export function decodeDataTile(tile: Uint8Array): DecodedLeaf[] {
  const reader = new TlsReader(tile, 'data tile');
  const leaves: DecodedLeaf[] = [];
  while (reader.remaining > 0) {
    if (leaves.length === tileWidth) throw reader.error(`more than ${tileWidth} entries`);
    leaves.push(readTileLeaf(reader, tile));
  }
  if (leaves.length === 0) throw reader.error('it is empty; expected at least one entry');
  return leaves;
}

/** The first `width` hashes or entries of a wider tile of this kind: the partial tile that it grew from. */
export function cutTile(kind: TileKind, bytes: Uint8Array, width: number): Uint8Array {
  if (kind !== 'data') return bytes.subarray(0, width * hashBytes);
  const leaves = decodeDataTile(bytes).slice(0, width);
  return Buffer.concat(leaves.map((leaf) => leaf.bytes));
}

/** The one TileLeaf in `bytes`; throws TlsDecodeError. */
export function decodeTileLeaf(bytes: Uint8Array): DecodedLeaf {
  const reader = new TlsReader(bytes, 'TileLeaf');
  const leaf = readTileLeaf(reader, bytes);
  reader.end();
  return leaf;
}

function readTileLeaf(reader: TlsReader, tile: Uint8Array): DecodedLeaf {
  const start = reader.offset;
  const timestampedEntry = readTimestampedEntry(reader);
  const merkleTreeLeaf = encodeMerkleTreeLeaf(tile.subarray(start, reader.offset));
  const precertificate =
    timestampedEntry.entry.type === 'precert' ? { precertificate: reader.vector(3, 'pre_certificate') } : {};
  const chain = reader.vector(2, 'certificate_chain');
  if (chain.length % hashBytes !== 0) {
    throw reader.error(`certificate_chain is ${chain.length} bytes long; expected a multiple of ${hashBytes}`);
  }
  const chainFingerprints = Array.from({ length: chain.length / hashBytes }, (_, i) =>
    chain.subarray(i * hashBytes, (i + 1) * hashBytes),
  );
  const bytes = tile.subarray(start, reader.offset);
  return { timestampedEntry, ...precertificate, chainFingerprints, bytes, merkleTreeLeaf };
}

/** The leaf hash of an entry that was read back. */
export function hashOf(leaf: DecodedLeaf): Hash {
  return leafHash(leaf.merkleTreeLeaf);
}
