import { type AppError, errorDomain } from '../errors.js';

/** google.rpc.Status as gRPC-gateway writes it, with one google.rpc.ErrorInfo that says the reason. */
export function errorBody(error: AppError, requestId: string): string {
  return JSON.stringify({
    code: error.grpcCode,
    message: error.publicMessage,
    details: [
      {
        '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
        reason: error.code,
        domain: errorDomain,
        metadata: { requestId },
      },
    ],
  });
}
