import { AppError } from '../errors.js';
import {
  children,
  DerError,
  encodingOf,
  expectTag,
  readBitString,
  readDer,
  readOid,
  readUnsigned,
  tag,
} from '../x509/der.js';
import { decodePem, PemError } from '../x509/pem.js';

/** The parts of a certification request (PKCS#10, RFC 2986) that count here; its names and extensions do not. */
export interface SigningRequest {
  /** DER CertificationRequestInfo: the signed bytes. */
  readonly signedBytes: Uint8Array;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Dotted OID. */
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array;
}

const labels = ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'];

/** Reads the bytes of a PEM certification request; throws AppError CSR_MALFORMED. Verifies nothing. */
export function parseCsr(pem: Uint8Array): SigningRequest {
  try {
    return parseDer(decodePem(pem, labels).der);
  } catch (cause) {
    if (cause instanceof PemError) throw new AppError('CSR_MALFORMED', cause.message, { cause });
    if (cause instanceof DerError) throw new AppError('CSR_MALFORMED', `${cause.message}; expected PKCS#10`, { cause });
    throw cause;
  }
}

function parseDer(der: Uint8Array): SigningRequest {
  const top = expectTag(readDer(der), tag.sequence, 'the request');
  const [info, algorithm, signature, extra] = children(top);
  if (extra !== undefined) throw new DerError('the request has a fourth part', extra.start);
  const infoNode = expectTag(info, tag.sequence, 'the CertificationRequestInfo', top);
  const [version, subject, spki, attributes, more] = children(infoNode);
  readUnsigned(version, 'the version');
  expectTag(subject, tag.sequence, 'the subject', infoNode);
  if (attributes !== undefined) expectTag(attributes, tag.context(0), 'the attributes');
  if (more !== undefined) throw new DerError('the CertificationRequestInfo has a fifth part', more.start);
  const [oid] = children(expectTag(algorithm, tag.sequence, 'the signature algorithm', top));
  return {
    signedBytes: encodingOf(infoNode),
    spki: encodingOf(expectTag(spki, tag.sequence, 'the public key', infoNode)),
    signatureAlgorithm: readOid(oid, 'the signature algorithm'),
    signature: readBitString(signature, 'the signature'),
  };
}
