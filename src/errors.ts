/**
 * The one error type and the one table of everything that can go wrong in front of a client.
 *
 * A row gives the gRPC code (google.rpc.Code), the HTTP status (gRPC-gateway's mapping unless a better one is
 * justified in docs/compatibility.md), the log level, and the sentence Fulcio would have answered with. Messages start
 * with that sentence and go on with what was found and what was expected.
 */

export const grpcCode = {
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const;

export type GrpcCodeName = keyof typeof grpcCode;

/** Who answers: the `domain` of every google.rpc.ErrorInfo. */
export const errorDomain = 'mayfly';

const httpStatusOf: Record<GrpcCodeName, number> = {
  INVALID_ARGUMENT: 400,
  DEADLINE_EXCEEDED: 504,
  NOT_FOUND: 404,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  FAILED_PRECONDITION: 400,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
};

const sentence = {
  token: 'There was an error processing the identity token',
  policy: 'The policy of this certificate authority does not allow this certificate',
  key: 'The public key supplied in the request could not be parsed',
  weakKey: 'The public key supplied in the request is insecure',
  csr: 'The certificate signing request could not be parsed',
  proof: 'The signature supplied in the request could not be verified',
  ctLog: 'Error entering certificate in CTL',
  signer: 'Error creating the certificate',
  body: 'The request could not be read',
  timestamp: 'Error generating timestamp response',
  internal: 'An internal error occurred',
} as const;

interface Row {
  readonly grpc: GrpcCodeName;
  readonly sentence: string;
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** Where another status than the gRPC code's is what the endpoint's clients know. */
  readonly http?: number;
}

const row = (grpc: GrpcCodeName, text: string, level: Row['level'] = 'info', rest: Pick<Row, 'http'> = {}): Row => ({
  grpc,
  sentence: text,
  level,
  ...rest,
});
const badToken = row('INVALID_ARGUMENT', sentence.token);
const badKey = row('INVALID_ARGUMENT', sentence.key);
const badCsr = row('INVALID_ARGUMENT', sentence.csr);
const badBody = row('INVALID_ARGUMENT', sentence.body);
const badTimestamp = row('INVALID_ARGUMENT', sentence.timestamp);

/** Every reason a request can fail with; the key is the `reason` of the google.rpc.ErrorInfo in the answer. */
export const errorTable = {
  TOKEN_MISSING: badToken,
  TOKEN_TOO_LARGE: badToken,
  TOKEN_MALFORMED: badToken,
  TOKEN_ALGORITHM_UNSUPPORTED: badToken,
  TOKEN_HEADER_UNSUPPORTED: badToken,
  TOKEN_KEY_UNKNOWN: badToken,
  TOKEN_SIGNATURE_INVALID: badToken,
  TOKEN_EXPIRED: badToken,
  TOKEN_EXPIRY_MISSING: badToken,
  TOKEN_NOT_YET_VALID: badToken,
  TOKEN_ISSUED_IN_FUTURE: badToken,
  TOKEN_AUDIENCE_MISMATCH: badToken,
  TOKEN_REUSED: badToken,
  ISSUER_MISSING: badToken,
  ISSUER_UNKNOWN: badToken,
  ISSUER_MISCONFIGURED: badToken,
  ISSUER_UNAVAILABLE: row('UNAVAILABLE', sentence.token, 'warn'),
  CLAIM_MISSING: badToken,
  CLAIM_INVALID: badToken,
  EMAIL_NOT_VERIFIED: badToken,
  SUBJECT_INVALID: badToken,
  POLICY_DENIED: row('PERMISSION_DENIED', sentence.policy),
  POLICY_UNAVAILABLE: row('UNAVAILABLE', 'The policy of this certificate authority cannot be asked', 'error'),
  TOKEN_STORE_FULL: row('RESOURCE_EXHAUSTED', sentence.token, 'warn'),
  KEY_MISSING: badKey,
  KEY_MALFORMED: badKey,
  KEY_UNSUPPORTED: badKey,
  KEY_WEAK: row('INVALID_ARGUMENT', sentence.weakKey),
  CSR_MALFORMED: badCsr,
  CSR_ALGORITHM_UNSUPPORTED: row('INVALID_ARGUMENT', 'unrecognized signature algorithm'),
  SIGNING_ALGORITHM_NOT_PERMITTED: row('INVALID_ARGUMENT', 'signing algorithm not permitted'),
  PROOF_MISSING: row('INVALID_ARGUMENT', sentence.proof),
  PROOF_INVALID: row('INVALID_ARGUMENT', sentence.proof),
  BODY_TOO_LARGE: badBody,
  BODY_MALFORMED: badBody,
  BODY_ENCODING_UNSUPPORTED: badBody,
  BODY_INCOMPLETE: badBody,
  REQUEST_UNREADABLE: badBody,
  METHOD_NOT_ALLOWED: row('UNIMPLEMENTED', 'Method Not Allowed'),
  NOT_FOUND: row('NOT_FOUND', 'Not Found'),
  PARAMETER_INVALID: row('INVALID_ARGUMENT', 'A parameter of the request is not valid'),
  CT_SUBMISSION_REFUSED: row('INVALID_ARGUMENT', 'The log does not accept this submission'),
  CT_LOG_UNAVAILABLE: row('UNAVAILABLE', sentence.ctLog, 'error'),
  CT_LOG_MISBEHAVED: row('UNAVAILABLE', sentence.ctLog, 'error'),
  AUDIT_UNAVAILABLE: row('UNAVAILABLE', sentence.signer, 'error'),
  SIGNER_UNAVAILABLE: row('UNAVAILABLE', sentence.signer, 'error'),
  CA_EXPIRING: row('UNAVAILABLE', sentence.signer, 'error'),
  TSA_REQUEST_MALFORMED: badTimestamp,
  TSA_REQUEST_UNSUPPORTED: badTimestamp,
  TSA_ALGORITHM_UNSUPPORTED: badTimestamp,
  TSA_POLICY_UNACCEPTED: badTimestamp,
  TSA_EXTENSION_UNACCEPTED: badTimestamp,
  TSA_MEDIA_TYPE_UNSUPPORTED: row('INVALID_ARGUMENT', 'Unsupported Media Type', 'info', { http: 415 }),
  TSA_METHOD_NOT_ALLOWED: row('UNIMPLEMENTED', 'Method Not Allowed', 'info', { http: 405 }),
  TSA_TIME_UNAVAILABLE: row('UNAVAILABLE', sentence.timestamp, 'error'),
  TSA_SIGNER_UNAVAILABLE: row('UNAVAILABLE', sentence.timestamp, 'error'),
  // Counted, not logged one by one: lines for what is turned away would be the next thing there is too much of.
  QUOTA_EXCEEDED: row('RESOURCE_EXHAUSTED', 'There were too many requests', 'debug'),
  OVERLOADED: row('RESOURCE_EXHAUSTED', 'The server has more work than it can do', 'debug'),
  SHUTTING_DOWN: row('UNAVAILABLE', 'The server is shutting down'),
  STARTING: row('UNAVAILABLE', 'The server is starting'),
  DEADLINE_EXCEEDED: row('DEADLINE_EXCEEDED', 'The request took longer than its deadline', 'warn'),
  INTERNAL: row('INTERNAL', sentence.internal, 'error'),
  /** A mistake of the operator's, found before the server takes its first request. */
  STARTUP: row('FAILED_PRECONDITION', 'mayfly cannot start', 'error'),
} as const satisfies Record<string, Row>;

export type ErrorCode = keyof typeof errorTable;

export interface AppErrorOptions {
  readonly cause?: unknown;
  /** Seconds after which the same request may succeed; becomes the Retry-After header. */
  readonly retryAfterSeconds?: number;
  /** The policy's rule that decided, for metrics and the audit trail. */
  readonly rule?: string;
}

/**
 * An error whose message may be shown to the client: it says what was being done, what was found and what was
 * expected, and never holds a token, a key or a password. `cause` is for the log only.
 */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly detail: string;
  readonly retryAfterSeconds: number | undefined;
  readonly rule: string | undefined;

  constructor(code: ErrorCode, detail: string, options: AppErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = detail;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.rule = options.rule;
  }

  /** What the client reads: Fulcio's sentence first, then the reason. */
  get publicMessage(): string {
    const { sentence: start } = errorTable[this.code];
    return this.detail === '' ? start : `${start}: ${this.detail}`;
  }

  /** google.rpc.Code number. */
  get grpcCode(): number {
    return grpcCode[errorTable[this.code].grpc];
  }

  get httpStatus(): number {
    const { grpc, http }: Row = errorTable[this.code];
    return http ?? httpStatusOf[grpc];
  }

  get level(): Row['level'] {
    return errorTable[this.code].level;
  }
}

/** Anything thrown, as an AppError: an unknown error becomes INTERNAL with nothing of its text in the answer. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  return new AppError('INTERNAL', 'the request id below names the entry in the server log', { cause: error });
}

/** The message of anything thrown, for a log line or an operator's terminal; never for a client. */
export function messageOf(error: unknown): string {
  // Not instanceof: an error of another realm (jest's, a worker's) is an error too.
  if (typeof error === 'object' && error !== null && 'message' in error) return String(error.message);
  return String(error);
}
