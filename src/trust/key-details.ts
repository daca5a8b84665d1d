import { createPublicKey, type KeyObject } from 'node:crypto';
import { PublicKeyDetails } from '@sigstore/protobuf-specs';
import { AppError } from '../errors.js';

const detailsByKind: Readonly<Record<string, PublicKeyDetails>> = {
  'ec prime256v1': PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
  'ec secp384r1': PublicKeyDetails.PKIX_ECDSA_P384_SHA_384,
  'ec secp521r1': PublicKeyDetails.PKIX_ECDSA_P521_SHA_512,
  'rsa 2048': PublicKeyDetails.PKIX_RSA_PKCS1V15_2048_SHA256,
  'rsa 3072': PublicKeyDetails.PKIX_RSA_PKCS1V15_3072_SHA256,
  'rsa 4096': PublicKeyDetails.PKIX_RSA_PKCS1V15_4096_SHA256,
  ed25519: PublicKeyDetails.PKIX_ED25519,
};

/** A key's type and size in words: "ec prime256v1", "rsa 2048", "ed25519". */
export function kindOfKey(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  return [key.asymmetricKeyType, namedCurve ?? modulusLength].filter((part) => part !== undefined).join(' ');
}

/**
 * Sigstore's name (sigstore_common.proto, PublicKeyDetails) for a log's key and the signatures it makes.
 * @param spki DER SubjectPublicKeyInfo.
 * @throws AppError STARTUP for a key that no verifier could use.
 */
export function keyDetailsOf(spki: Uint8Array): PublicKeyDetails {
  const kind = kindOfKey(parseKey(spki));
  const details = detailsByKind[kind];
  if (details === undefined) {
    const supported = Object.keys(detailsByKind).join(', ');
    throw new AppError('STARTUP', `a log key of type "${kind}" has no name in a trusted root; expected ${supported}`);
  }
  return details;
}

function parseKey(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new AppError('STARTUP', 'a log key for the trusted root is not a DER SubjectPublicKeyInfo', { cause });
  }
}
