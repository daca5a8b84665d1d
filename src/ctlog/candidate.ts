import { hash } from 'node:crypto';
import type { SignedEntry } from '../ct/leaf.js';
import { encodeSignedEntry, timestamped } from '../ct/leaf.js';
import { encodeLeafIndex } from '../ct/leaf-index.js';
import { type EncodedLeaf, tileLeafOf } from './tile-leaf.js';

/** A chain whose certificates the log holds, or will before an entry refers to it. */
export interface IssuerChain {
  /** DER, issuing CA first, root last. */
  readonly certificates: readonly Uint8Array[];
  /** SHA-256 of each. */
  readonly fingerprints: readonly Uint8Array[];
}

/** An entry that may enter the log: validated, not yet sequenced. */
export interface Candidate {
  readonly entry: SignedEntry;
  /** DER; exactly for a precert entry. */
  readonly precertificate?: Uint8Array;
  readonly issuers: IssuerChain;
}

export function issuerChain(certificates: readonly Uint8Array[]): IssuerChain {
  return { certificates, fingerprints: certificates.map((der) => hash('sha256', der, 'buffer')) };
}

/** SHA-256 over entry type and signed_entry: two submissions with the same key are one entry. */
export function dedupeKey(entry: SignedEntry): Uint8Array {
  return dedupeKeyOf(encodeSignedEntry(entry));
}

/** The same from the TLS bytes of the entry. */
export function dedupeKeyOf(signedEntry: Uint8Array): Uint8Array {
  return hash('sha256', signedEntry, 'buffer');
}

/** The entry as it stands in the tree at `index`; `timestamp` in milliseconds since the epoch, `signedEntry` its TLS bytes. */
export function sequencedLeaf(
  { entry, precertificate, issuers }: Candidate,
  index: number,
  timestamp: number,
  signedEntry: Uint8Array = encodeSignedEntry(entry),
): EncodedLeaf {
  const bytes = timestamped(signedEntry, BigInt(timestamp), encodeLeafIndex(index));
  return tileLeafOf(bytes, precertificate, issuers.fingerprints);
}
