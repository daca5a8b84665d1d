import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';
import { AppError, messageOf } from '../errors.js';
import { readDer } from '../x509/der.js';
import { type ImprintHash, imprintHashes, imprintHashNames, type TimestampRequest } from './imprint.js';

/**
 * Reads a TimeStampReq (RFC 3161 Section 2.4.1), whose size the caller has bounded. Throws AppError: TSA_REQUEST_MALFORMED
 * for what is no such structure, TSA_REQUEST_UNSUPPORTED for another version, TSA_ALGORITHM_UNSUPPORTED for another
 * digest than SHA-256, SHA-384 and SHA-512, TSA_EXTENSION_UNACCEPTED for any extension, critical or not (same section).
 */
export function parseQuery(der: Uint8Array): TimestampRequest {
  const query = readQuery(der);
  if (query.version !== 1) {
    throw new AppError('TSA_REQUEST_UNSUPPORTED', `the request has version ${query.version}; expected 1`);
  }
  const { hashAlgorithm, hashedMessage } = query.messageImprint;
  const hash = hashOf(hashAlgorithm);
  const digest = Uint8Array.from(hashedMessage.valueBlock.valueHexView);
  if (query.extensions !== undefined) {
    const oids = query.extensions.map(({ extnID }) => extnID).join(', ');
    throw new AppError('TSA_EXTENSION_UNACCEPTED', `the request has extensions (${oids.slice(0, 200)}); none is known`);
  }
  return {
    hash,
    nullParameters: hashAlgorithm.algorithmParams !== undefined,
    digest: checkDigest(hash, digest),
    policy: query.reqPolicy,
    nonce: query.nonce === undefined ? undefined : readNonce(query.nonce),
    certReq: query.certReq ?? false,
  };
}

/** The digest, when it is as long as the algorithm's are; throws AppError TSA_REQUEST_MALFORMED otherwise. */
export function checkDigest(hash: ImprintHash, digest: Uint8Array): Uint8Array {
  if (digest.length === hash.bytes) return digest;
  const found = `the message digest has ${digest.length} bytes`;
  throw new AppError('TSA_REQUEST_MALFORMED', `${found}; expected ${hash.bytes} for ${hash.name}`);
}

function readQuery(der: Uint8Array): pkijs.TimeStampReq {
  try {
    // asn1js takes bytes after the end and indefinite lengths, which readDer refuses.
    readDer(der);
    const { result, offset } = asn1js.fromBER(der);
    if (offset < 0) throw new Error(result.error);
    return new pkijs.TimeStampReq({ schema: result });
  } catch (cause) {
    // pkijs says no more than that its schema does not match; the reader's own words name the place.
    const why = typeof cause === 'object' && cause !== null && 'offset' in cause ? `: ${messageOf(cause)}` : '';
    const message = `the body is not a DER TimeStampReq (RFC 3161 Section 2.4.1)${why}`;
    throw new AppError('TSA_REQUEST_MALFORMED', message, { cause });
  }
}

function hashOf({ algorithmId, algorithmParams }: pkijs.AlgorithmIdentifier): ImprintHash {
  const hash = imprintHashes.find(({ oid }) => oid === algorithmId);
  if (hash === undefined) {
    const found = `the message digest is of the algorithm ${algorithmId.slice(0, 100)}`;
    throw new AppError('TSA_ALGORITHM_UNSUPPORTED', `${found}; expected ${imprintHashNames}`);
  }
  // Absent or NULL (RFC 5754 Section 2).
  if (algorithmParams !== undefined && !(algorithmParams instanceof asn1js.Null)) {
    throw new AppError('TSA_ALGORITHM_UNSUPPORTED', `${hash.name} was given parameters; it takes none`);
  }
  return hash;
}

function readNonce(nonce: asn1js.Integer): Uint8Array {
  const octets = Uint8Array.from(nonce.valueBlock.valueHexView);
  const [first, second = 0] = octets;
  const isPadded = octets.length > 1 && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
  if (first === undefined || isPadded) throw new AppError('TSA_REQUEST_MALFORMED', 'the nonce is no DER integer');
  return octets;
}
