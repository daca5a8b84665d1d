import { encodeBitString, encodeElement, encodeSequence, tag } from '../x509/der.js';
import { encodePem } from '../x509/pem.js';
import { type ClientKey, keyAlgorithms } from './request-key.js';

const version1 = encodeElement(tag.integer, Uint8Array.of(0));
const emptyName = encodeSequence();
const noAttributes = encodeElement(tag.context(0));

/**
 * A PKCS#10 certification request (RFC 2986) in PEM that says nothing but the key: the server takes the names from the
 * token. Its signature is the proof of possession.
 */
export async function encodeCsr(key: ClientKey): Promise<string> {
  const info = encodeSequence(version1, emptyName, key.spki, noAttributes);
  const algorithm = Buffer.from(keyAlgorithms[key.algorithm].signatureAlgorithm, 'hex');
  const request = encodeSequence(info, algorithm, encodeBitString(await key.sign(info)));
  return encodePem('CERTIFICATE REQUEST', request);
}
