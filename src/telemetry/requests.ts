import type { TracedRequest } from './tracing.js';

/** What of a request its span is made from; headers as they came. */
export interface SeenRequest {
  readonly requestId: string;
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
}

/** A POST of the HTTP API as a span, by OpenTelemetry's conventions for HTTP; `status` is that of success. */
export function httpSpan(path: string, status: number, { requestId, ...trace }: SeenRequest): TracedRequest {
  return {
    ...trace,
    name: `POST ${path}`,
    attributes: { 'http.request.method': 'POST', 'http.route': path, 'url.path': path, 'mayfly.request_id': requestId },
    ended: (error) => ({ 'http.response.status_code': error?.httpStatus ?? status }),
  };
}

/** A call of the gRPC API as a span, by OpenTelemetry's conventions for RPC; `method` is `package.Service/Method`. */
export function grpcSpan(method: string, { requestId, ...trace }: SeenRequest): TracedRequest {
  const [service = '', name = ''] = method.split('/');
  return {
    ...trace,
    name: method,
    attributes: { 'rpc.system': 'grpc', 'rpc.service': service, 'rpc.method': name, 'mayfly.request_id': requestId },
    ended: (error) => ({ 'rpc.grpc.status_code': error?.grpcCode ?? 0 }),
  };
}
