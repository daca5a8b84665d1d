import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { AppError } from '../errors.js';
import type { Extension } from '../x509/certificate.js';
import {
  children,
  contentOf,
  DerError,
  type DerNode,
  encodeBitString,
  encodeElement,
  encodeOid,
  encodeSequence,
  encodingOf,
  expectTag,
  readBitString,
  readDer,
  readOid,
  readUnsigned,
  tag,
} from '../x509/der.js';
import { decodePem, encodePem, PemError } from '../x509/pem.js';
import { kindOf } from './signature-algorithm.js';
import type { Signer } from './signer.js';

/** A certification request for a CA or a timestamp authority (PKCS#10, RFC 2986) whose own signature has been verified. */
export interface CaRequest {
  /** DER Name that the requester would like. */
  readonly subject: Uint8Array;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly publicKey: KeyObject;
  /** The extensions asked for; whoever signs decides. */
  readonly extensions: readonly Extension[];
  /** Dotted OIDs of the attributes beside the extension request. */
  readonly otherAttributes: readonly string[];
}

const extensionRequestOid = '1.2.840.113549.1.9.14';
const labels = ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'];
/** A request with an RSA-4096 key takes about 2,000 bytes. */
const maxBytes = 64 * 1024;

/** A request, PEM, for the signer's key with this DER Name and these DER Extensions, signed by that key. */
export async function encodeCsr(
  signer: Signer,
  subject: Uint8Array,
  extensions: readonly Uint8Array[],
): Promise<string> {
  const request = encodeSequence(encodeOid(extensionRequestOid), encodeElement(tag.set, encodeSequence(...extensions)));
  const info = encodeSequence(
    encodeElement(tag.integer, Uint8Array.of(0)),
    subject,
    signer.publicKey.export({ type: 'spki', format: 'der' }),
    encodeElement(tag.context(0), request),
  );
  const signature = encodeBitString(await signer.sign(info));
  return encodePem('CERTIFICATE REQUEST', encodeSequence(info, signer.signatureAlgorithm, signature));
}

/**
 * Reads a PEM certification request and verifies its signature, which proves that the requester holds the key. Throws
 * AppError CSR_MALFORMED, CSR_ALGORITHM_UNSUPPORTED or PROOF_INVALID. The key is not checked for weakness.
 */
export function readCsr(pem: string | Uint8Array): CaRequest {
  if (pem.length > maxBytes) throw malformed(`the request has ${pem.length} bytes; expected ${maxBytes} at most`);
  const parts = parsed(() => parseDer(decodePem(pem, labels).der));
  const publicKey = importKey(parts.spki);
  verifySignature(parts, publicKey);
  const { subject, spki, extensions, otherAttributes } = parts;
  return { subject, spki, publicKey, extensions, otherAttributes };
}

interface Parts extends Omit<CaRequest, 'publicKey'> {
  /** DER CertificationRequestInfo. */
  readonly signedBytes: Uint8Array;
  /** Dotted OID. */
  readonly algorithm: string;
  readonly signature: Uint8Array;
}

function parseDer(der: Uint8Array): Parts {
  const top = expectTag(readDer(der), tag.sequence, 'the request');
  const [info, algorithm, signature, extra] = children(top);
  if (extra !== undefined) throw new DerError('the request has a fourth part', extra.start);
  const infoNode = expectTag(info, tag.sequence, 'the CertificationRequestInfo', top);
  const [version, subject, spki, attributes, more] = children(infoNode);
  if (more !== undefined) throw new DerError('the CertificationRequestInfo has a fifth part', more.start);
  const [number] = readUnsigned(version, 'the version');
  if (number !== 0) throw new DerError(`the version is ${number}; there is only 0 (RFC 2986 Section 4.1)`, 0);
  const [oid] = children(expectTag(algorithm, tag.sequence, 'the signature algorithm', top));
  return {
    signedBytes: encodingOf(infoNode),
    subject: encodingOf(expectTag(subject, tag.sequence, 'the subject', infoNode)),
    spki: encodingOf(expectTag(spki, tag.sequence, 'the public key', infoNode)),
    ...readAttributes(attributes),
    algorithm: readOid(oid, 'the signature algorithm'),
    signature: readBitString(signature, 'the signature'),
  };
}

/** Attributes ::= [0] IMPLICIT SET OF SEQUENCE { type, SET OF value }; some tools leave an empty one out. */
function readAttributes(node: DerNode | undefined): Pick<CaRequest, 'extensions' | 'otherAttributes'> {
  const otherAttributes: string[] = [];
  let extensions: readonly Extension[] | undefined;
  const attributes = node === undefined ? [] : children(expectTag(node, tag.context(0), 'the attributes'), 64);
  for (const attribute of attributes) {
    const [type, values] = children(expectTag(attribute, tag.sequence, 'an attribute'));
    const oid = readOid(type, "an attribute's type");
    if (oid !== extensionRequestOid) {
      otherAttributes.push(oid);
      continue;
    }
    if (extensions !== undefined) throw new DerError('the extension request stands twice', attribute.start);
    const [list, second] = children(expectTag(values, tag.set, 'the extension request', attribute));
    if (second !== undefined) throw new DerError('the extension request has two values', second.start);
    extensions = children(expectTag(list, tag.sequence, 'the requested extensions', values), 64).map(readExtension);
  }
  return { extensions: extensions ?? [], otherAttributes };
}

function readExtension(node: DerNode): Extension {
  const parts = children(expectTag(node, tag.sequence, 'a requested extension'), 3);
  const oid = readOid(parts[0], 'a requested extension');
  const critical = parts.length === 3 && contentOf(expectTag(parts[1], tag.boolean, `criticality of ${oid}`))[0] !== 0;
  const value = contentOf(expectTag(parts[parts.length === 3 ? 2 : 1], tag.octetString, `the value of ${oid}`, node));
  return { oid, critical, value, encoding: encodingOf(node) };
}

function importKey(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new AppError('CSR_MALFORMED', 'the public key of the request cannot be read', { cause });
  }
}

/** What a request may be signed with, and by which type of key. */
const algorithms: Readonly<Record<string, { readonly type: string; readonly hash: string | null }>> = {
  '1.2.840.10045.4.3.2': { type: 'ec', hash: 'sha256' },
  '1.2.840.10045.4.3.3': { type: 'ec', hash: 'sha384' },
  '1.2.840.10045.4.3.4': { type: 'ec', hash: 'sha512' },
  '1.2.840.113549.1.1.11': { type: 'rsa', hash: 'sha256' },
  '1.2.840.113549.1.1.12': { type: 'rsa', hash: 'sha384' },
  '1.2.840.113549.1.1.13': { type: 'rsa', hash: 'sha512' },
  '1.3.101.112': { type: 'ed25519', hash: null },
};

/** Those worth naming in the refusal. */
const refusedAlgorithms: Readonly<Record<string, string>> = {
  '1.2.840.10045.4.1': 'ECDSA with SHA-1',
  '1.2.840.113549.1.1.4': 'RSA with MD5',
  '1.2.840.113549.1.1.5': 'RSA with SHA-1',
  '1.2.840.113549.1.1.10': 'RSA-PSS',
};

function verifySignature({ algorithm, signedBytes, signature }: Parts, publicKey: KeyObject): void {
  const row = Object.hasOwn(algorithms, algorithm) ? algorithms[algorithm] : undefined;
  if (row === undefined) {
    const found = refusedAlgorithms[algorithm] ?? `the algorithm ${algorithm}`;
    throw new AppError(
      'CSR_ALGORITHM_UNSUPPORTED',
      `the request is signed with ${found}; expected ECDSA or RSA (PKCS#1 v1.5) with SHA-256, SHA-384 or SHA-512, or Ed25519`,
    );
  }
  if (publicKey.asymmetricKeyType !== row.type) {
    throw malformed(`the request holds a key of the kind ${kindOf(publicKey)}, which cannot have made its signature`);
  }
  if (!verifies(row.hash, signedBytes, publicKey, signature)) {
    throw new AppError(
      'PROOF_INVALID',
      'the signature of the request does not verify with the key in it: the request was changed, or whoever made it does not hold that key',
    );
  }
}

function verifies(hash: string | null, data: Uint8Array, key: KeyObject, signature: Uint8Array): boolean {
  try {
    return verify(hash, data, key, signature);
  } catch {
    // OpenSSL throws for some signatures that are no signatures at all.
    return false;
  }
}

function parsed<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof PemError) throw malformed(cause.message, cause);
    if (cause instanceof DerError) throw malformed(`${cause.message}; expected PKCS#10 (RFC 2986)`, cause);
    throw cause;
  }
}

function malformed(detail: string, cause?: unknown): AppError {
  return new AppError('CSR_MALFORMED', detail, { cause });
}
