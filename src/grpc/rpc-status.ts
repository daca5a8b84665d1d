import { Metadata, type StatusObject, status as statusCode } from '@grpc/grpc-js';
import { AppError, type ErrorCode, errorDomain } from '../errors.js';
import { rpcErrorInfo, rpcRetryInfo, rpcStatus } from './definitions.js';

export const requestIdKey = 'x-request-id';
export const detailsKey = 'grpc-status-details-bin';

/** The first value of a metadata key, '' if there is none. */
export function firstText(metadata: Metadata, key: string): string {
  const [value] = metadata.get(key);
  return typeof value === 'string' ? value : '';
}

/** The request id that the interceptor gave a call. */
export function requestIdOfCall(metadata: Metadata): string {
  return firstText(metadata, requestIdKey);
}

/**
 * Bytes that the percent-encoded message may take. It travels twice (grpc-message and inside the details), and clients
 * drop a call whose trailers exceed 8 KiB.
 */
const messageLimit = 2048;

/**
 * The gRPC status of an error: the code and message that HTTP gives, and in `grpc-status-details-bin` a
 * google.rpc.Status whose google.rpc.ErrorInfo says the reason. When to try again is in a google.rpc.RetryInfo beside it, and
 * in the metadata `retry-after`, in seconds as in HTTP. `code` replaces the error's own gRPC code.
 */
export function statusOf(error: AppError, requestId: string, code: number = error.grpcCode): StatusObject {
  const message = trailerText(error.publicMessage);
  const info = rpcErrorInfo.serialize({
    reason: error.code,
    domain: errorDomain,
    metadata: [{ key: 'requestId', value: requestId }],
  });
  const details = rpcStatus.serialize({
    code,
    message,
    details: [{ type_url: 'type.googleapis.com/google.rpc.ErrorInfo', value: info }, ...retryInfo(error)],
  });
  const metadata = new Metadata();
  metadata.set(requestIdKey, requestId);
  metadata.set(detailsKey, details);
  if (error.retryAfterSeconds !== undefined) metadata.set('retry-after', String(error.retryAfterSeconds));
  return { code, details: message, metadata };
}

function retryInfo({ retryAfterSeconds }: AppError): object[] {
  if (retryAfterSeconds === undefined) return [];
  const value = rpcRetryInfo.serialize({ retry_delay: { seconds: retryAfterSeconds } });
  return [{ type_url: 'type.googleapis.com/google.rpc.RetryInfo', value }];
}

/** What grpc-js answers by itself, and what we make of it; the first row that matches counts. */
const libraryStatuses: readonly { readonly text: RegExp; readonly reason: ErrorCode; readonly detail: string }[] = [
  { text: /^Deadline exceeded/, reason: 'DEADLINE_EXCEEDED', detail: 'the deadline that the client set has passed' },
  { text: /larger than/, reason: 'BODY_TOO_LARGE', detail: 'the message is larger than 4194304 bytes' },
  { text: /unsupported encoding/, reason: 'BODY_ENCODING_UNSUPPORTED', detail: 'expected identity, gzip or deflate' },
  { text: /^Failed to decompress/, reason: 'BODY_MALFORMED', detail: 'the message cannot be decompressed' },
  { text: /^Error deserializing/, reason: 'BODY_MALFORMED', detail: 'the message is not of the type of this method' },
  { text: /request message for/, reason: 'BODY_MALFORMED', detail: 'expected exactly one message' },
  { text: /^Invalid grpc-timeout/, reason: 'PARAMETER_INVALID', detail: 'the grpc-timeout header is not a duration' },
];

/** gRPC has codes of its own for these two, and its clients know them. */
const codeOf: Partial<Record<ErrorCode, number>> = {
  BODY_TOO_LARGE: statusCode.RESOURCE_EXHAUSTED,
  BODY_ENCODING_UNSUPPORTED: statusCode.UNIMPLEMENTED,
};

/** A failure status that the library made, with the reason and details that one of ours has. */
export function libraryStatus(text: string, requestId: string): StatusObject {
  const row = libraryStatuses.find((candidate) => candidate.text.test(text));
  const error = new AppError(row?.reason ?? 'INTERNAL', row?.detail ?? 'the transport failed');
  return statusOf(error, requestId, codeOf[error.code]);
}

/**
 * Text that can stand in a status: well-formed UTF-16 (grpc-js percent-encodes it with encodeURI, which throws on a
 * lone surrogate, outside any handler) and short enough for a trailer.
 */
function trailerText(text: string): string {
  const wellFormed = text.replace(/\p{Surrogate}/gu, '\uFFFD');
  if (encodeURI(wellFormed).length <= messageLimit) return wellFormed;
  let size = 0;
  let kept = '';
  for (const character of wellFormed) {
    size += encodeURI(character).length;
    if (size > messageLimit - 9) break;
    kept += character;
  }
  return `${kept}…`;
}

/** The code as the Prometheus middleware of grpc-go writes it, so that dashboards made for Fulcio go on working. */
export function codeLabel(code: number): string {
  const name = statusCode[code] ?? 'UNKNOWN';
  if (name === 'OK') return name;
  if (name === 'CANCELLED') return 'Canceled';
  return name.toLowerCase().replace(/(?:^|_)([a-z])/g, (_match, letter: string) => letter.toUpperCase());
}
