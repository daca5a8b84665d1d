import { TlsReader, TlsWriter, vector } from './tls.js';

/**
 * What a log entry is about, without the log's own additions: LogEntryType and signed_entry of RFC 6962 Section 3.2.
 */
export type SignedEntry =
  | { readonly type: 'x509'; readonly certificate: Uint8Array }
  | { readonly type: 'precert'; readonly issuerKeyHash: Uint8Array; readonly tbs: Uint8Array };

/** TimestampedEntry of RFC 6962 Section 3.4. */
export interface TimestampedEntry {
  /** Milliseconds since the epoch. */
  readonly timestamp: bigint;
  readonly entry: SignedEntry;
  /** CtExtensions, as in the SCT. */
  readonly extensions: Uint8Array;
}

const entryTypes = { x509: 0, precert: 1 } as const;

/** entry_type followed by signed_entry: the part SCT and leaf have in common. */
export function encodeSignedEntry(entry: SignedEntry): Uint8Array {
  const type = entryTypes[entry.type];
  if (entry.type === 'x509') {
    return new TlsWriter(5 + entry.certificate.length).uint(type, 2).vector(entry.certificate, 3).finish();
  }
  const { issuerKeyHash, tbs } = entry;
  if (issuerKeyHash.length !== 32) {
    throw new RangeError(`issuer_key_hash is ${issuerKeyHash.length} bytes long; expected 32`);
  }
  return new TlsWriter(37 + tbs.length).uint(type, 2).bytes(issuerKeyHash).vector(tbs, 3).finish();
}

/** TLS bytes of a TimestampedEntry (RFC 6962 Section 3.4). */
export function encodeTimestampedEntry({ timestamp, entry, extensions }: TimestampedEntry): Uint8Array {
  return timestamped(encodeSignedEntry(entry), timestamp, extensions);
}

/** The same from what `encodeSignedEntry` made; with `prefix` before it. */
export function timestamped(
  signedEntry: Uint8Array,
  timestamp: bigint,
  extensions: Uint8Array,
  prefix: Uint8Array = noBytes,
): Uint8Array {
  const writer = new TlsWriter(prefix.length + 10 + signedEntry.length + extensions.length);
  return writer.bytes(prefix).uint64(timestamp).bytes(signedEntry).vector(extensions, 2).finish();
}

const noBytes = new Uint8Array();

/** Reads a TimestampedEntry and leaves the reader behind it; throws TlsDecodeError. */
export function readTimestampedEntry(reader: TlsReader): TimestampedEntry {
  const timestamp = reader.uint64('timestamp');
  const entry = readSignedEntry(reader);
  return { timestamp, entry, extensions: reader.vector(2, 'extensions') };
}

function readSignedEntry(reader: TlsReader): SignedEntry {
  const type = reader.uint(2, 'entry_type');
  if (type === entryTypes.x509) return { type: 'x509', certificate: reader.vector(3, 'certificate') };
  if (type !== entryTypes.precert) throw reader.error(`entry_type is ${type}; expected 0 (x509) or 1 (precert)`);
  return {
    type: 'precert',
    issuerKeyHash: reader.bytes(32, 'issuer_key_hash'),
    tbs: reader.vector(3, 'tbs_certificate'),
  };
}

/** MerkleTreeLeaf v1 of type timestamped_entry around the bytes of a TimestampedEntry (RFC 6962 Section 3.4). */
export function encodeMerkleTreeLeaf(timestampedEntry: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(0, 0), timestampedEntry]);
}

/** The TimestampedEntry in a MerkleTreeLeaf, `leaf_input` of get-entries; throws TlsDecodeError. */
export function decodeMerkleTreeLeaf(bytes: Uint8Array): TimestampedEntry {
  const reader = new TlsReader(bytes, 'MerkleTreeLeaf');
  const [version, leafType] = [reader.uint(1, 'version'), reader.uint(1, 'leaf_type')];
  if (version !== 0 || leafType !== 0) {
    throw reader.error(`version ${version} and leaf_type ${leafType}; expected 0 (v1) and 0 (timestamped_entry)`);
  }
  const entry = readTimestampedEntry(reader);
  reader.end();
  return entry;
}

/**
 * `extra_data` of get-entries (RFC 6962 Section 4.6): for an x509 entry its certificate_chain, for a precert entry
 * (`precertificate` given) a PrecertChainEntry. `chain` is DER, issuing CA first.
 */
export function encodeExtraData(chain: readonly Uint8Array[], precertificate?: Uint8Array): Uint8Array {
  const certificates = vector(Buffer.concat(chain.map((der) => vector(der, 3))), 3);
  return precertificate === undefined ? certificates : Buffer.concat([vector(precertificate, 3), certificates]);
}
