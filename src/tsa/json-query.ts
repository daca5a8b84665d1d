import { z } from 'zod';
import { AppError } from '../errors.js';
import { decodeBase64 } from '../http/base64.js';
import { parseJsonBody } from '../http/json-body.js';
import { type ImprintHash, imprintHashes, imprintHashNames, type TimestampRequest } from './imprint.js';
import { checkDigest } from './query.js';

/** The fields of the Sigstore timestamp authority's JSON request; others are passed over, as it does. */
const querySchema = z.object({
  artifactHash: z.string(),
  hashAlgorithm: z.string(),
  certificates: z.boolean().nullish(),
  nonce: z.int().or(z.number()).nullish(),
  tsaPolicyOID: z.string().nullish(),
});

/**
 * Reads the JSON form of a timestamp request: artifactHash (the digest, base64), hashAlgorithm (sha256, sha384, sha512),
 * certificates, nonce (an integer of any size), tsaPolicyOID (dotted). Throws AppError BODY_MALFORMED for what is no such
 * object, else as `parseQuery`.
 */
export function parseJsonQuery(body: Uint8Array): TimestampRequest {
  const parsed = querySchema.safeParse(parseJsonBody(body));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue?.path.join('.') || 'the body';
    throw new AppError('BODY_MALFORMED', `${field}: ${issue?.message ?? 'not as expected'}`);
  }
  const { artifactHash, hashAlgorithm, certificates, nonce, tsaPolicyOID } = parsed.data;
  const hash = hashNamed(hashAlgorithm);
  const digest = decodeBase64(artifactHash);
  if (digest === undefined) throw new AppError('TSA_REQUEST_MALFORMED', 'artifactHash is not base64');
  return {
    hash,
    nullParameters: true,
    digest: checkDigest(hash, digest),
    policy: tsaPolicyOID || undefined,
    nonce: typeof nonce === 'number' ? integerOctets(exactNonce(body, nonce)) : undefined,
    certReq: certificates ?? false,
  };
}

function hashNamed(name: string): ImprintHash {
  const hash = imprintHashes.find((one) => one.name === name.toLowerCase());
  if (hash !== undefined) return hash;
  throw new AppError(
    'TSA_ALGORITHM_UNSUPPORTED',
    `hashAlgorithm is ${JSON.stringify(name.slice(0, 40))}; expected ${imprintHashNames}`,
  );
}

/** JSON.parse rounds above 2^53, and a client compares its nonce to the last digit: it is read from the text again. */
function exactNonce(body: Uint8Array, rounded: number): bigint {
  if (Number.isSafeInteger(rounded)) return BigInt(rounded);
  // Inside a JSON string the quotes would be escaped, so only a key can look like this.
  const found = [
    ...Buffer.from(body)
      .toString('utf8')
      .matchAll(/"nonce"\s*:\s*(-?\d+)\s*[,}]/g),
  ];
  const [only, ...more] = found.map(([, digits]) => digits ?? '');
  if (only !== undefined && more.length === 0 && Number(only) === rounded) return BigInt(only);
  throw new AppError('BODY_MALFORMED', 'nonce is a number that is no integer');
}

/** Content octets of a DER INTEGER (X.690 Section 8.3): two's complement, as short as can be. */
function integerOctets(value: bigint): Uint8Array {
  let bytes = 1;
  while (BigInt.asIntN(bytes * 8, value) !== value) bytes += 1;
  return Buffer.from(
    BigInt.asUintN(bytes * 8, value)
      .toString(16)
      .padStart(bytes * 2, '0'),
    'hex',
  );
}
