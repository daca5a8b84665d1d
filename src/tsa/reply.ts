import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';
import type { AppError, ErrorCode } from '../errors.js';
import { encodeElement, encodeSequence, tag } from '../x509/der.js';

/** PKIStatus rejection (RFC 3161 Section 2.4.2). */
const rejection = 2;

/** Bits of PKIFailureInfo (same section). */
const failureBits = {
  badAlg: 0,
  badRequest: 2,
  badDataFormat: 5,
  timeNotAvailable: 14,
  unacceptedPolicy: 15,
  unacceptedExtension: 16,
  systemFailure: 25,
} as const;

export type Failure = keyof typeof failureBits;

const failures: Partial<Readonly<Record<ErrorCode, Failure>>> = {
  TSA_ALGORITHM_UNSUPPORTED: 'badAlg',
  TSA_REQUEST_UNSUPPORTED: 'badRequest',
  BODY_MALFORMED: 'badDataFormat',
  TSA_REQUEST_MALFORMED: 'badDataFormat',
  TSA_POLICY_UNACCEPTED: 'unacceptedPolicy',
  TSA_EXTENSION_UNACCEPTED: 'unacceptedExtension',
  TSA_TIME_UNAVAILABLE: 'timeNotAvailable',
};

/** What RFC 3161 calls a failure: systemFailure for all that is the server's own. */
export function failureOf({ code }: AppError): Failure {
  return failures[code] ?? 'systemFailure';
}

const granted = encodeSequence(encodeElement(tag.integer, Uint8Array.of(0)));

/** DER TimeStampResp with a token, itself DER (PKIStatus granted). */
export function grantedReply(token: Uint8Array): Uint8Array {
  return encodeSequence(granted, token);
}

/** DER TimeStampResp that says why there is no token, in words and as PKIFailureInfo. */
export function rejectedReply(error: AppError): Uint8Array {
  const response = new pkijs.TimeStampResp({
    status: new pkijs.PKIStatusInfo({
      status: rejection,
      statusStrings: [new asn1js.Utf8String({ value: error.publicMessage })],
      failInfo: namedBit(failureBits[failureOf(error)]),
    }),
  });
  return new Uint8Array(response.toSchema().toBER());
}

/** A BIT STRING with one bit set and none after it (X.690 Section 11.2.2). */
function namedBit(bit: number): asn1js.BitString {
  const octets = new Uint8Array(Math.floor(bit / 8) + 1);
  octets[octets.length - 1] = 0x80 >> (bit % 8);
  return new asn1js.BitString({ valueHex: octets, unusedBits: 7 - (bit % 8) });
}
