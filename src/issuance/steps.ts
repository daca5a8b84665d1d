import type { KeyObject } from 'node:crypto';
import { signDigitally } from '../ct/digitally-signed.js';
import type { UnsignedSct } from '../ct/log.js';
import { encodeSctList, sctSigningInput } from '../ct/sct.js';
import { AppError } from '../errors.js';
import { type KeyPolicy, type KeyRequest, type ProvenKey, proveKey } from '../proof.js';
import { corresponds } from '../x509/precert.js';
import {
  assembleTbs,
  encodeCertificate,
  encodeTbsParts,
  type LeafFields,
  poisonExtension,
  sctListExtension,
  type TbsParts,
} from '../x509/tbs.js';

/** What of a leaf is known before the client's key is: everything that neither the CA nor the key decides. */
export type LeafTemplate = Pick<LeafFields, 'serial' | 'notBefore' | 'notAfter' | 'san' | 'extensions'>;

/** The first step of an issuance: check the key, make the precertificate. */
export interface PrecertOrder {
  readonly request: KeyRequest;
  /** A proof of possession over any of these is good; at least one. */
  readonly challenges: readonly [string, ...string[]];
  readonly policy: KeyPolicy;
  readonly leaf: LeafTemplate;
  /** Whether a log is to see it; if not, the first certificate is the final one and carries no poison. */
  readonly logged: boolean;
}

/** A precertificate and what it was made from. */
export interface Precertified {
  readonly key: ProvenKey;
  /** DER; with `logged` false the certificate itself. */
  readonly precertificate: Uint8Array;
  readonly parts: TbsParts;
  /** Seconds for the proof of possession, and for encoding and signing. */
  readonly seconds: { readonly proof: number; readonly sign: number };
}

/** The second step: the same leaf with its SCTs. */
export interface CertificateOrder {
  readonly parts: TbsParts;
  readonly precertificate: Uint8Array;
  /** TLS bytes of the SignedCertificateTimestampList (RFC 6962 Section 3.3). */
  readonly sctList: Uint8Array;
}

/** The second step where the one log's key is in this process: its SCT and the certificate are signed in one go. */
export interface CompletionOrder {
  readonly parts: TbsParts;
  readonly precertificate: Uint8Array;
  readonly sct: UnsignedSct;
}

export interface Completed {
  /** The SCT's DigitallySigned struct. */
  readonly signature: Uint8Array;
  /** DER, with that SCT embedded. */
  readonly certificate: Uint8Array;
  /** What both took. */
  readonly seconds: number;
}

/** The CA as the steps need it. */
export interface IssuingKey {
  /** DER AlgorithmIdentifier of its signatures. */
  readonly signatureAlgorithm: Uint8Array;
  /** DER Name, the leaf's issuer. */
  readonly issuerName: Uint8Array;
  readonly authorityKeyId: Uint8Array;
  /** SHA-256 of its DER SubjectPublicKeyInfo: PreCert.issuer_key_hash. */
  readonly issuerKeyHash: Uint8Array;
  /** As Signer has it. */
  sign(tbs: Uint8Array): Promise<Uint8Array>;
}

/** Proves possession of the client's key and signs the precertificate. Throws AppError as `proveKey` and `encodeTbsParts` do. */
export async function precertify(order: PrecertOrder, ca: IssuingKey): Promise<Precertified> {
  const started = performance.now();
  const key = await provePossession(order);
  const proven = performance.now();
  const { signatureAlgorithm, issuerName, authorityKeyId } = ca;
  const { serial, notBefore, notAfter, san, extensions } = order.leaf;
  const parts = encodeTbsParts({
    serial,
    signatureAlgorithm,
    issuerName,
    authorityKeyId,
    notBefore,
    notAfter,
    spki: key.spki,
    san,
    extensions,
  });
  const tbs = assembleTbs(parts, order.logged ? poisonExtension : undefined);
  const precertificate = encodeCertificate(tbs, signatureAlgorithm, await ca.sign(tbs));
  const seconds = { proof: (proven - started) / 1000, sign: (performance.now() - proven) / 1000 };
  return { key, precertificate, parts, seconds };
}

/**
 * Signs the certificate that a precertificate promised. It is compared before it is signed: one that does not correspond
 * must never exist (RFC 6962 Section 3.1).
 */
export async function certify(order: CertificateOrder, ca: IssuingKey): Promise<Uint8Array> {
  const tbs = assembleTbs(order.parts, sctListExtension(order.sctList));
  corresponds(order.precertificate, encodeCertificate(tbs, ca.signatureAlgorithm, noSignature));
  return encodeCertificate(tbs, ca.signatureAlgorithm, await ca.sign(tbs));
}

/** Signs a log's SCT over what the parts say, and the certificate that embeds it; throws as `certify` does. */
export async function complete(order: CompletionOrder, ca: IssuingKey, logKey: KeyObject): Promise<Completed> {
  const started = performance.now();
  const { parts, precertificate, sct } = order;
  const entry = { type: 'precert', issuerKeyHash: ca.issuerKeyHash, tbs: assembleTbs(parts) } as const;
  const signature = signDigitally(sctSigningInput(entry, sct.timestamp, sct.extensions), logKey);
  const { logId, timestamp, extensions } = sct;
  const sctList = encodeSctList([{ logId, timestamp, extensions, signature }]);
  const certificate = await certify({ parts, precertificate, sctList }, ca);
  return { signature, certificate, seconds: (performance.now() - started) / 1000 };
}

const noSignature = new Uint8Array(1);

/** A proof is good over any of the challenges; the first one's error stands when it is good over none. */
async function provePossession({ request, challenges, policy }: PrecertOrder): Promise<ProvenKey> {
  let first: unknown;
  for (const challenge of challenges) {
    try {
      return await proveKey(request, challenge, policy);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'PROOF_INVALID') throw error;
      first ??= error;
    }
  }
  throw first;
}
