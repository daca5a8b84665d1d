import 'reflect-metadata'; // @peculiar/x509's dependency injection needs it loaded first
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { Crypto } from '@peculiar/webcrypto';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import { type ClientKey, keyAlgorithms } from './request-key.js';

/** Not Node's own WebCrypto, which on Node 20 calls Ed25519 experimental and warns on every use. */
const crypto = new Crypto();

/**
 * A PKCS#10 certification request (RFC 2986) in PEM that says nothing but the key: the server takes the names from the
 * token. Its signature, with the key's own digest, is the proof of possession.
 */
export async function encodeCsr(key: ClientKey): Promise<string> {
  const { webCrypto: algorithm } = keyAlgorithms[key.algorithm];
  const privateKey = createPrivateKey(key.privatePem);
  const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' });
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const keys = {
    privateKey: await crypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
    publicKey: await crypto.subtle.importKey('spki', spki, algorithm, true, ['verify']),
  };
  const request = await Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: algorithm }, crypto);
  return `${request.toString('pem')}\n`;
}
