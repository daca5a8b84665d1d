import { isIP } from 'node:net';
import { type handleUnaryCall, Metadata, type ServerUnaryCall, type UntypedServiceImplementation } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import type { Cancellation } from '../cancellation.js';
import type { ClientAddress } from '../client-address.js';
import { AppError, toAppError } from '../errors.js';
import { v2Answer } from '../http/signing-cert.js';
import type { Issued, IssueRequest, RequestContext } from '../issue.js';
import type { Intake } from '../limits/intake.js';
import { type OnRejection, watched } from '../telemetry/rejections.js';
import { grpcSpan } from '../telemetry/requests.js';
import type { Tracing } from '../telemetry/tracing.js';
import { createSigningCertificateRequest } from './definitions.js';
import { firstText, requestIdOfCall, statusOf } from './rpc-status.js';
import { lastFieldOf } from './wire.js';

export interface CaServiceDeps {
  readonly issue: (request: IssueRequest, signal: Cancellation, context: RequestContext) => Promise<Issued>;
  /** PEM chains of the CAs that relying parties should trust, issuing CA first. */
  readonly trustBundle: () => readonly (readonly string[])[];
  /** The JSON form of dev.sigstore.fulcio.v2.Configuration. */
  readonly configuration: () => Readonly<Record<string, unknown>>;
  readonly logger: Logger;
  readonly requestTimeoutMs: number;
  readonly clientAddress: ClientAddress;
  readonly intake: Intake;
  readonly onRejection?: OnRejection;
  /** Undefined: no traces. */
  readonly tracing?: Tracing | undefined;
}

/**
 * The handlers of dev.sigstore.fulcio.v2.CA: they translate the wire to issue() and back, nothing else.
 * CreateSigningCertificate takes its message undecoded (see readRequest).
 */
export function caHandlers(deps: CaServiceDeps): UntypedServiceImplementation {
  return {
    CreateSigningCertificate: unary<Buffer>(
      deps,
      traced(deps, (call, signal) => watched(deps.onRejection, (read) => issueFor(deps, call, signal, read))),
    ),
    GetTrustBundle: unary(deps, async () => ({
      chains: deps.trustBundle().map((certificates) => ({ certificates })),
    })),
    GetConfiguration: unary(deps, async () => snakeKeys(deps.configuration())),
  };
}

async function issueFor(
  deps: CaServiceDeps,
  call: ServerUnaryCall<Buffer, object>,
  signal: AbortSignal,
  read: (token: string) => void,
): Promise<object> {
  await deps.intake.check();
  const forwardedFor = call.metadata.get('x-forwarded-for').join(',');
  const clientAddress = deps.clientAddress(addressOf(call.getPeer()), forwardedFor);
  const context = { requestId: requestIdOfCall(call.metadata), clientAddress };
  await deps.intake.arrive(context);
  const issued = await deps.intake.run(signal, async () => {
    const asked = readRequest(call.request, call.metadata);
    read(asked.token);
    return deps.issue(asked, signal, context);
  });
  return snakeKeys(v2Answer(issued));
}

/** The same in a span, whose traceparent goes back to the caller. */
function traced<Request>({ tracing }: CaServiceDeps, answer: Answer<Request>): Answer<Request> {
  if (tracing === undefined) return answer;
  return (call, signal) => {
    const { metadata } = call;
    const given = (key: string): string | undefined => firstText(metadata, key) || undefined;
    const seen = {
      requestId: requestIdOfCall(metadata),
      traceparent: given('traceparent'),
      tracestate: given('tracestate'),
    };
    return tracing.request(grpcSpan(call.getPath().slice(1), seen), (traceparent) => {
      const sent = new Metadata();
      sent.set('traceparent', traceparent);
      call.sendMetadata(sent);
      return answer(call, signal);
    });
  };
}

/** Field numbers of the oneof `key`. */
const keyField = { publicKeyRequest: 2, csr: 3 } as const;

interface CreateRequest {
  readonly credentials: { readonly oidc_identity_token?: string } | null;
  readonly public_key_request?: {
    readonly public_key: { readonly content: string } | null;
    readonly proof_of_possession: Uint8Array;
  };
  readonly certificate_signing_request?: Uint8Array;
}

/**
 * A dev.sigstore.fulcio.v2.CreateSigningCertificateRequest. The token in the message wins over the one in metadata
 * `oidcidentitytoken`; of a key and a CSR the later one counts; `algorithm` is not looked at, the key decides. Throws
 * AppError BODY_MALFORMED when the bytes are no such message.
 */
export function readRequest(bytes: Buffer, metadata: Metadata): IssueRequest {
  let message: CreateRequest;
  try {
    message = createSigningCertificateRequest.deserialize(bytes) as CreateRequest;
  } catch (error) {
    const expected = 'dev.sigstore.fulcio.v2.CreateSigningCertificateRequest';
    throw new AppError('BODY_MALFORMED', `the message is not a ${expected}`, { cause: error });
  }
  const token = message.credentials?.oidc_identity_token || firstText(metadata, 'oidcidentitytoken');
  const csr = message.certificate_signing_request ?? new Uint8Array();
  const chosen = lastFieldOf(bytes, Object.values(keyField));
  if (chosen === keyField.csr && csr.length > 0) return { token, key: { kind: 'csr', csr } };
  const request = chosen === keyField.publicKeyRequest ? message.public_key_request : undefined;
  const proof = request?.proof_of_possession ?? new Uint8Array();
  return { token, key: { kind: 'publicKey', key: request?.public_key?.content ?? '', proof } };
}

type Answer<Request> = (call: ServerUnaryCall<Request, object>, signal: AbortSignal) => Promise<object>;

/** A handler from a function that answers or throws; its signal ends with the call, its deadline or the time limit. */
function unary<Request>(deps: CaServiceDeps, answer: Answer<Request>): handleUnaryCall<Request, object> {
  return (call, callback) => {
    const limit = callLimit(call, deps.requestTimeoutMs);
    const answered = async (): Promise<object> => {
      limit.signal.throwIfAborted();
      return answer(call, limit.signal);
    };
    answered()
      .then(
        (message) => callback(null, message),
        (thrown: unknown) => {
          const error = toAppError(thrown);
          const requestId = requestIdOfCall(call.metadata);
          const entry = { requestId, reason: error.code, method: call.getPath(), err: error.cause };
          deps.logger[error.level](entry, error.publicMessage);
          callback(statusOf(error, requestId));
        },
      )
      .finally(limit.end);
  };
}

function callLimit(call: ServerUnaryCall<unknown, object>, requestTimeoutMs: number) {
  const controller = new AbortController();
  const stop = (why: string) => () => {
    clearTimeout(timer);
    controller.abort(new AppError('DEADLINE_EXCEEDED', why));
  };
  const timer = setTimeout(stop(`the limit here is ${requestTimeoutMs} ms`), requestTimeoutMs);
  // grpc-js cancels the call when the client goes away and when the deadline passes, but only on a later turn.
  call.once('cancelled', stop('the client gave up, or its deadline passed'));
  if (Number(call.getDeadline()) <= Date.now()) stop('the deadline that the client set has passed')();
  return { signal: controller.signal, end: () => clearTimeout(timer) };
}

/** grpc-js names a peer as address:port, an IPv6 address without brackets; undefined for one that is not on the network. */
function addressOf(peer: string): string | undefined {
  const address = peer.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  return isIP(address) === 0 ? undefined : address;
}

/** proto3 JSON names as the proto has them: every lowerCamelCase key at any depth becomes snake_case. */
function snakeKeys(value: object): object {
  const convert = (item: unknown): unknown => (typeof item === 'object' && item !== null ? snakeKeys(item) : item);
  if (Array.isArray(value)) return value.map(convert);
  const entries = Object.entries(value).map(([key, item]) => [
    key.replace(/[A-Z]+/g, (letters) => `_${letters.toLowerCase()}`),
    convert(item),
  ]);
  return Object.fromEntries(entries);
}
