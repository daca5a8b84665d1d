import { createPublicKey, verify, webcrypto } from 'node:crypto';
import * as pkijs from 'pkijs';

/** Digest of each signature algorithm a certificate may carry; null for Ed25519, which hashes for itself. */
const digests: Readonly<Record<string, string | null>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.3.101.112': null,
};

/** pkijs walks the path, OpenSSL checks the signatures: pkijs's own engine knows no Ed25519. */
class OpensslEngine extends pkijs.CryptoEngine {
  override async verifyWithPublicKey(
    ...[data, signature, spki, algorithm]: Parameters<pkijs.CryptoEngine['verifyWithPublicKey']>
  ): Promise<boolean> {
    const digest = digests[algorithm.algorithmId];
    if (digest === undefined) return false;
    const key = createPublicKey({ key: Buffer.from(spki.toSchema().toBER()), format: 'der', type: 'spki' });
    return verify(digest, bytesOf(data), key, signature.valueBlock.valueHexView);
  }
}

const engine = new OpensslEngine({ name: 'openssl', crypto: webcrypto });

/**
 * Validates a certification path (RFC 5280 Section 6) from `leaf` over `intermediates` to one of `roots` as of `at`.
 * All certificates are DER.
 * @returns undefined when there is a valid path, else why there is none.
 */
export async function pathProblem(
  leaf: Uint8Array,
  intermediates: readonly Uint8Array[],
  roots: readonly Uint8Array[],
  at: Date,
): Promise<string | undefined> {
  const parse = (der: Uint8Array): pkijs.Certificate => pkijs.Certificate.fromBER(der);
  const validation = new pkijs.CertificateChainValidationEngine({
    trustedCerts: roots.map(parse),
    // The engine takes the last one for the end entity.
    certs: [...intermediates, leaf].map(parse),
    checkDate: at,
  });
  const result = await validation.verify({}, engine);
  return result.result ? undefined : result.resultMessage;
}

function bytesOf(data: ArrayBuffer | ArrayBufferView): Uint8Array {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}
