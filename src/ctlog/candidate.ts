import { hash } from 'node:crypto';
import type { SignedEntry } from '../ct/leaf.js';
import { encodeSignedEntry } from '../ct/leaf.js';
import { encodeLeafIndex } from '../ct/leaf-index.js';
import { type EncodedLeaf, encodeTileLeaf } from './tile-leaf.js';

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
  return hash('sha256', encodeSignedEntry(entry), 'buffer');
}

/** The entry as it stands in the tree at `index`; `timestamp` in milliseconds since the epoch. */
export function sequencedLeaf(candidate: Candidate, index: number, timestamp: number): EncodedLeaf {
  const { entry, precertificate, issuers } = candidate;
  return encodeTileLeaf({
    timestampedEntry: { timestamp: BigInt(timestamp), entry, extensions: encodeLeafIndex(index) },
    ...(precertificate === undefined ? {} : { precertificate }),
    chainFingerprints: issuers.fingerprints,
  });
}
