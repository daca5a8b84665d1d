import { TlsReader, TlsWriter } from './tls.js';

/** ExtensionType leaf_index of c2sp.org/static-ct-api, "SCT Extension". */
const leafIndexType = 0;

/** Width of a LeafIndex: a big-endian unsigned 40-bit integer. */
const leafIndexBytes = 5;

/** CtExtensions that hold one leaf_index: eight bytes. `index` is zero-based, below 2^40. */
export function encodeLeafIndex(index: number): Uint8Array {
  return new TlsWriter(8).uint(leafIndexType, 1).uint(leafIndexBytes, 2).uint(index, leafIndexBytes).finish();
}

/**
 * The leaf index in CtExtensions, or undefined when there is none.
 *
 * Unknown extensions are skipped, in any order; throws TlsDecodeError on a duplicate type or a malformed list, which
 * static-ct-api forbids.
 */
export function decodeLeafIndex(extensions: Uint8Array): number | undefined {
  const reader = new TlsReader(extensions, 'CtExtensions');
  const seen = new Set<number>();
  let index: number | undefined;
  while (reader.remaining > 0) {
    const type = reader.uint(1, 'extension_type');
    const data = reader.vector(2, 'extension_data');
    if (seen.has(type)) throw reader.error(`extension type ${type} appears twice`);
    seen.add(type);
    if (type !== leafIndexType) continue;
    if (data.length !== leafIndexBytes) {
      throw reader.error(`leaf_index is ${data.length} bytes long; expected ${leafIndexBytes}`);
    }
    index = Buffer.from(data).readUIntBE(0, leafIndexBytes);
  }
  return index;
}
