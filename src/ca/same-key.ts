import type { KeyObject } from 'node:crypto';

/**
 * Whether two public keys are the same one. Not `KeyObject.equals`: between keys of two types that leaves an error in
 * OpenSSL's queue, which the next call that reads a key then throws (Node 20).
 */
export function isSameKey(a: KeyObject, b: KeyObject): boolean {
  return spkiOf(a).equals(spkiOf(b));
}

function spkiOf(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}
