import { hash } from 'node:crypto';
import { children, DerError, type DerNode, expectTag, readBitString, readDer, readOid, tag } from './der.js';

/** A SubjectPublicKeyInfo (RFC 5280 Section 4.1.2.7), taken apart. */
export interface SubjectPublicKeyInfo {
  /** Dotted OID of the key's algorithm. */
  readonly algorithm: string;
  /** The algorithm's parameters, if there are any. */
  readonly parameters: DerNode | undefined;
  /** Content of the subjectPublicKey bit string. */
  readonly key: Uint8Array;
}

/** Takes a DER SubjectPublicKeyInfo apart; throws DerError. Does not look into parameters and key. */
export function parseSpki(der: Uint8Array): SubjectPublicKeyInfo {
  const top = expectTag(readDer(der), tag.sequence, 'the public key');
  const [algorithm, key, extra] = children(top);
  if (extra !== undefined) throw new DerError('the public key has a third part', extra.start);
  const [oid, parameters, more] = children(expectTag(algorithm, tag.sequence, "the public key's algorithm", top));
  if (more !== undefined) throw new DerError("the public key's algorithm has a third part", more.start);
  return {
    algorithm: readOid(oid, "the public key's algorithm"),
    parameters,
    key: readBitString(key, 'the public key'),
  };
}

/** SHA-1 of the subjectPublicKey bits (RFC 5280 Section 4.2.1.2, method 1), 20 bytes. */
export function keyIdOf(spki: Uint8Array): Uint8Array {
  return hash('sha1', parseSpki(spki).key, 'buffer');
}
