import { getFips, type KeyObject, X509Certificate } from 'node:crypto';
import { AppError } from './errors.js';
import { keyAlgorithmNames, keyAlgorithms } from './proof/key-algorithms.js';

/** What the process says of its OpenSSL. */
export interface FipsProbe {
  /** 1 when OpenSSL fetches FIPS-approved algorithms only. */
  readonly getFips: () => number;
  /** Such as "3.0.19". */
  readonly openssl: string;
}

export const processFips: FipsProbe = { getFips, openssl: process.versions.openssl };

/**
 * Key types that --fips does without. FIPS 186-5 approves EdDSA, but the FIPS provider of OpenSSL 3.0, which Node 20 is
 * built for, does not offer Ed25519 as approved: what one validated module refuses is no key to certify.
 */
const withoutApproval: ReadonlySet<string> = new Set(['ed25519', 'ed448', 'x25519', 'x448']);

/** Throws AppError STARTUP, saying how to turn it on, unless OpenSSL runs in FIPS mode. */
export function requireFips({ getFips: mode, openssl }: FipsProbe): void {
  if (mode() === 1) return;
  throw new AppError(
    'STARTUP',
    `--fips: OpenSSL ${openssl} of this Node.js is not in FIPS mode (crypto.getFips() is ${mode()}); expected 1. Install a ` +
      'validated FIPS provider, name it in OPENSSL_CONF and start node with --force-fips (docs/trust.md, "FIPS")',
  );
}

/**
 * The client key algorithms under --fips: those of --client-signing-algorithms, else all that are approved. Throws AppError
 * STARTUP when the flag names one that is not.
 */
export function fipsClientAlgorithms(given: readonly string[] | undefined): readonly string[] {
  const approved = keyAlgorithmNames
    .map((name) => keyAlgorithms[name])
    .filter(({ type }) => !withoutApproval.has(type))
    .flatMap(({ flags }): readonly string[] => flags);
  const refused = (given ?? []).filter((name) => name.includes('ed25519'));
  if (refused.length === 0) return given ?? approved;
  throw new AppError(
    'STARTUP',
    `--client-signing-algorithms names ${refused.join(', ')}, which --fips does not offer; expected some of ${approved.join(', ')}`,
  );
}

/** Throws AppError STARTUP when a key that signs here is of a type that --fips does without. */
export function checkFipsKey(what: string, key: KeyObject): void {
  const type = String(key.asymmetricKeyType);
  if (!withoutApproval.has(type)) return;
  throw new AppError('STARTUP', `--fips: ${what} is ${type}, which is not approved here; expected ECDSA or RSA`);
}

/** The same for the key in a certificate, DER. */
export function checkFipsCertificate(what: string, certificate: Uint8Array | undefined): void {
  if (certificate !== undefined) checkFipsKey(what, new X509Certificate(certificate).publicKey);
}
