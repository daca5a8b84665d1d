import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { verifyDigitally } from './digitally-signed.js';
import { encodeSignedEntry, type SignedEntry, timestamped } from './leaf.js';
import type { PrecertSubmission, Sct } from './log.js';
import { TlsReader, TlsWriter, vector } from './tls.js';

/** The part of a submission that a precert SCT signs. */
export type SignedPrecert = Pick<PrecertSubmission, 'tbs' | 'issuerKeyHash'>;

/** LogID: SHA-256 of the log's DER SubjectPublicKeyInfo (RFC 6962 Section 3.2); takes its public or private key. */
export function logIdOf(key: KeyObject): Uint8Array {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest();
}

/** TLS bytes of a v1 SignedCertificateTimestamp (RFC 6962 Section 3.2). */
export function encodeSct(sct: Sct): Uint8Array {
  if (sct.logId.length !== 32) throw new RangeError(`log id is ${sct.logId.length} bytes long; expected 32`);
  const { logId, timestamp, extensions, signature } = sct;
  const writer = new TlsWriter(43 + extensions.length + signature.length).uint(0, 1);
  return writer.bytes(logId).uint64(timestamp).vector(extensions, 2).bytes(signature).finish();
}

/** Decodes a v1 SignedCertificateTimestamp; throws TlsDecodeError. The signature is not checked. */
export function decodeSct(bytes: Uint8Array): Sct {
  const reader = new TlsReader(bytes, 'SignedCertificateTimestamp');
  const version = reader.uint(1, 'sct_version');
  if (version !== 0) throw reader.error(`sct_version is ${version}; expected 0 (v1)`);
  const logId = reader.bytes(32, 'log id');
  const timestamp = reader.uint64('timestamp');
  const extensions = reader.vector(2, 'extensions');
  const start = reader.offset;
  reader.bytes(2, 'signature algorithm');
  reader.vector(2, 'signature');
  const signature = bytes.subarray(start, reader.offset);
  reader.end();
  return { logId, timestamp, extensions, signature };
}

/**
 * TLS bytes of a SignedCertificateTimestampList (RFC 6962 Section 3.3), not wrapped in an OCTET STRING; throws
 * RangeError for no SCT at all, which the struct cannot express.
 */
export function encodeSctList(scts: readonly Sct[]): Uint8Array {
  if (scts.length === 0) throw new RangeError('an SCT list holds at least one SCT');
  return vector(Buffer.concat(scts.map((sct) => vector(encodeSct(sct), 2))), 2);
}

/** Decodes a SignedCertificateTimestampList; throws TlsDecodeError on an empty or malformed one. */
export function decodeSctList(bytes: Uint8Array): Sct[] {
  const outer = new TlsReader(bytes, 'SignedCertificateTimestampList');
  const list = new TlsReader(outer.vector(2, 'sct_list'), 'SignedCertificateTimestampList');
  outer.end();
  if (list.remaining === 0) throw list.error('it is empty; expected at least one SCT');
  const scts: Sct[] = [];
  while (list.remaining > 0) scts.push(decodeSct(list.vector(2, 'SerializedSCT')));
  return scts;
}

/** v1, certificate_timestamp. */
const version1 = Uint8Array.of(0, 0);

/** The bytes an SCT signs: version, certificate_timestamp, timestamp, entry, extensions (RFC 6962 Section 3.2). */
export function sctSigningInput(entry: SignedEntry, timestamp: bigint, extensions: Uint8Array): Uint8Array {
  return timestamped(encodeSignedEntry(entry), timestamp, extensions, version1);
}

/**
 * Whether `sct` is a promise of the log with `logKey` for this precertificate: log id and signature, ECDSA P-256 or
 * RSA, both with SHA-256. The timestamp is not judged.
 */
export function verifySct(sct: Sct, submission: SignedPrecert, logKey: KeyObject): boolean {
  const { tbs, issuerKeyHash } = submission;
  return verifyEntrySct(sct, { type: 'precert', tbs, issuerKeyHash }, logKey);
}

/** `verifySct` for either kind of entry. */
export function verifyEntrySct(sct: Sct, entry: SignedEntry, logKey: KeyObject): boolean {
  if (!Buffer.from(sct.logId).equals(logIdOf(logKey))) return false;
  return verifyDigitally(sctSigningInput(entry, sct.timestamp, sct.extensions), sct.signature, logKey);
}
