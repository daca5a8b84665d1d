import { hash, type KeyObject, verify } from 'node:crypto';
import { AppError } from './errors.js';
import { parseCsr, type SigningRequest } from './proof/csr.js';
import { type ImportedKey, importPkcs1, importSpki } from './proof/key.js';
import {
  type KeyAlgorithm,
  type KeyAlgorithmName,
  keyAlgorithmNames,
  keyAlgorithms,
  proofTitle,
  signingAlgorithmFlags,
} from './proof/key-algorithms.js';
import { decodePem, PemError, pemLabel } from './x509/pem.js';

/** A client's key with the evidence that it holds the private half. */
export type KeyRequest =
  | {
      readonly kind: 'publicKey';
      /** PEM as text; or bytes of PEM or of a DER SubjectPublicKeyInfo, where the transport carries bytes. */
      readonly key: string | Uint8Array;
      /** Signature over the challenge. */
      readonly proof: Uint8Array;
    }
  | {
      readonly kind: 'csr';
      /** Bytes of a PEM certification request. */
      readonly csr: Uint8Array;
    };

/** Which kinds of key are accepted. */
export interface KeyPolicy {
  readonly allowed: ReadonlySet<KeyAlgorithmName>;
  /** Kinds of key among them that this one request may not bring, because of a rule of the policy. */
  readonly refused?: ReadonlyMap<KeyAlgorithmName, KeyRefusal>;
}

export interface KeyRefusal {
  readonly rule: string | undefined;
  /** For the client. */
  readonly detail: string;
}

/** A key whose possession was proven. */
export interface ProvenKey {
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly algorithm: KeyAlgorithmName;
  /** SHA-256 of `spki`, lower-case hex. */
  readonly fingerprint: string;
}

/** Everything that COMPAT allows: ECDSA P-256/384/521, RSA 2048/3072/4096, Ed25519. */
export const defaultKeyPolicy: KeyPolicy = { allowed: new Set(keyAlgorithmNames) };

/**
 * The policy that --client-signing-algorithms asks for, by Sigstore's names ("ecdsa-sha2-256-nistp256"); an empty list
 * means the default. Throws AppError STARTUP for a name that is not known.
 */
export function clientSigningAlgorithms(names: readonly string[]): KeyPolicy {
  if (names.length === 0) return defaultKeyPolicy;
  const allowed = names.map((flag) => {
    const name = keyAlgorithmNames.find((candidate) => flagsOf(candidate).includes(flag));
    if (name !== undefined) return name;
    throw new AppError(
      'STARTUP',
      `--client-signing-algorithms has "${flag}"; expected some of ${signingAlgorithmFlags.join(', ')}`,
    );
  });
  return { allowed: new Set(allowed) };
}

function flagsOf(name: KeyAlgorithmName): readonly string[] {
  return keyAlgorithms[name].flags;
}

/**
 * Reads the client's key, refuses weak and unwanted ones, and checks that the client holds the private key: by a
 * signature over the UTF-8 of `challenge`, or by the CSR's own signature. From a CSR nothing else counts.
 *
 * Throws AppError KEY_*, CSR_*, SIGNING_ALGORITHM_NOT_PERMITTED, POLICY_DENIED, PROOF_MISSING or PROOF_INVALID.
 */
export async function proveKey(request: KeyRequest, challenge: string, policy: KeyPolicy): Promise<ProvenKey> {
  const { algorithm, spki } =
    request.kind === 'csr'
      ? await proveByCsr(parseCsr(request.csr), policy)
      : await proveByChallenge(request.key, request.proof, challenge, policy);
  return { algorithm, spki, fingerprint: hash('sha256', spki, 'hex') };
}

async function proveByChallenge(
  key: string | Uint8Array,
  proof: Uint8Array,
  challenge: string,
  policy: KeyPolicy,
): Promise<ImportedKey> {
  const imported = permitted(await importKey(key), policy);
  const algorithm = keyAlgorithms[imported.algorithm];
  if (challenge === '') throw new AppError('CLAIM_MISSING', 'the claim that the proof of possession signs is empty');
  const expected = `expected ${proofTitle(algorithm)} over ${JSON.stringify(challenge.slice(0, 256))}`;
  if (proof.length === 0) throw new AppError('PROOF_MISSING', `found no proof of possession; ${expected}`);
  const signed = Buffer.from(challenge, 'utf8');
  if (await verifySignature(algorithm, imported.key, signed, proof)) return imported;
  throw new AppError(
    'PROOF_INVALID',
    `the proof of possession (${proof.length} bytes) does not verify with the given key; ${expected}`,
  );
}

async function proveByCsr(csr: SigningRequest, policy: KeyPolicy): Promise<ImportedKey> {
  const imported = permitted(await importSpki(csr.spki), policy);
  const algorithm = keyAlgorithms[imported.algorithm];
  if (csr.signatureAlgorithm !== algorithm.csrSignature) {
    const known = otherSignatureAlgorithms[csr.signatureAlgorithm];
    throw new AppError(
      known === undefined ? 'CSR_ALGORITHM_UNSUPPORTED' : 'SIGNING_ALGORITHM_NOT_PERMITTED',
      `the request is signed with ${known ?? unsupportedName(csr.signatureAlgorithm)}; expected ${proofTitle(algorithm)}`,
    );
  }
  if (await verifySignature(algorithm, imported.key, csr.signedBytes, csr.signature)) return imported;
  throw new AppError('PROOF_INVALID', "the request's own signature does not verify with the key in it");
}

/** Algorithms that a CSR may come with and that fit no key of ours, or another one than the CSR's. */
const otherSignatureAlgorithms: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.11': 'RSA (PKCS#1 v1.5) with SHA-256',
  '1.2.840.113549.1.1.12': 'RSA (PKCS#1 v1.5) with SHA-384',
  '1.2.840.113549.1.1.13': 'RSA (PKCS#1 v1.5) with SHA-512',
  '1.2.840.113549.1.1.5': 'RSA (PKCS#1 v1.5) with SHA-1',
  '1.2.840.10045.4.1': 'ECDSA with SHA-1',
  '1.2.840.10045.4.3.2': 'ECDSA with SHA-256',
  '1.2.840.10045.4.3.3': 'ECDSA with SHA-384',
  '1.2.840.10045.4.3.4': 'ECDSA with SHA-512',
  '1.3.101.112': 'Ed25519',
};

function unsupportedName(oid: string): string {
  return oid === '1.2.840.113549.1.1.10' ? 'RSA-PSS' : `the algorithm ${oid}`;
}

function permitted(imported: ImportedKey, policy: KeyPolicy): ImportedKey {
  if (policy.allowed.has(imported.algorithm)) return notRefused(imported, policy);
  const titles = [...policy.allowed].map((name) => keyAlgorithms[name].title).join(', ');
  throw new AppError(
    'SIGNING_ALGORITHM_NOT_PERMITTED',
    `found a key for ${keyAlgorithms[imported.algorithm].title}; this server takes ${titles}`,
  );
}

function notRefused(imported: ImportedKey, policy: KeyPolicy): ImportedKey {
  const refusal = policy.refused?.get(imported.algorithm);
  if (refusal === undefined) return imported;
  const { rule, detail } = refusal;
  throw new AppError('POLICY_DENIED', detail, rule === undefined ? {} : { rule });
}

const pemLabels = ['PUBLIC KEY', 'RSA PUBLIC KEY'];

async function importKey(key: string | Uint8Array): Promise<ImportedKey> {
  if (key.length === 0) throw new AppError('KEY_MISSING', 'found neither a public key nor a signing request');
  const label = pemLabel(key);
  if (label?.includes('PRIVATE KEY')) {
    throw new AppError(
      'KEY_MALFORMED',
      'found a private key; expected the public key only. Make a new key: this one has left its owner',
    );
  }
  if (typeof key !== 'string' && label === undefined) return importSpki(key);
  try {
    const block = decodePem(key, pemLabels);
    return await (block.label === 'PUBLIC KEY' ? importSpki(block.der) : importPkcs1(block.der));
  } catch (cause) {
    if (cause instanceof PemError) throw new AppError('KEY_MALFORMED', cause.message, { cause });
    throw cause;
  }
}

/** Longer than any signature of ours: DER ECDSA P-521 is 139 bytes, RSA 4096 512. */
const maxSignature = 1024;

/** ECDSA as DER or as r‖s (IEEE P1363), whichever it is. A bare key means DER, and Node 24 takes 12 µs less for it than for an object. */
async function verifySignature(
  algorithm: KeyAlgorithm,
  key: KeyObject,
  data: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (signature.length > maxSignature) return false;
  if (algorithm.type !== 'ec') return check(algorithm, data, key, signature);
  // r‖s has one length only; a DER signature of that length exists, but is rare enough to be tried second.
  if (signature.length === 2 * algorithm.size) {
    const raw = await check(algorithm, data, { key, dsaEncoding: 'ieee-p1363' }, signature);
    if (raw) return true;
  }
  return check(algorithm, data, key, signature);
}

/**
 * Fast checks are made where they are asked for: the way to libuv's pool and back costs a third of a P-256 check. Those of
 * P-384 and P-521 would hold the event loop for up to a millisecond.
 */
function check(
  algorithm: KeyAlgorithm,
  data: Uint8Array,
  key: KeyObject | { key: KeyObject; dsaEncoding: 'ieee-p1363' },
  signature: Uint8Array,
): boolean | Promise<boolean> {
  const isSlow = algorithm.type === 'ec' && algorithm.size > 32;
  if (!isSlow) return verify(algorithm.hash, data, key, signature);
  return new Promise((resolve, reject) => {
    verify(algorithm.hash, data, key, signature, (error, isValid) =>
      error === null ? resolve(isValid) : reject(error),
    );
  });
}
