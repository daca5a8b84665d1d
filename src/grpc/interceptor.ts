import {
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  status as statusCode,
} from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { AppError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { requestIdOf } from '../request-id.js';
import { codeLabel, detailsKey, firstText, libraryStatus, requestIdKey, statusOf } from './rpc-status.js';

export interface InterceptorDeps {
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** How long a client may take to send its request. */
  readonly requestTimeoutMs: number;
}

/**
 * What every call gets: a request id (in the handler's metadata and in the answer's), one count in
 * grpc_server_handled_total and one debug line, google.rpc details on whatever error, and a bound on the time to send
 * the request.
 */
export function createInterceptor(deps: InterceptorDeps): ServerInterceptor {
  return (method, call) => {
    const labels = methodLabels(method.path, method.requestStream, method.responseStream);
    const started = performance.now();
    let requestId = requestIdOf(undefined);
    let finished = false;
    const finish = (code: number): void => {
      clearTimeout(receiveTimer);
      if (finished) return;
      finished = true;
      deps.metrics.grpcHandled.inc({ ...labels, grpc_code: codeLabel(code) });
      const ms = Math.round((performance.now() - started) * 10) / 10;
      deps.logger.debug({ requestId, method: method.path, code: codeLabel(code), ms }, 'grpc request');
    };
    completeStatuses(call, () => requestId, finish);
    const receiveTimer = setTimeout(() => {
      const error = new AppError('DEADLINE_EXCEEDED', `it was not sent within ${deps.requestTimeoutMs} ms`);
      call.sendStatus(statusOf(error, requestId));
    }, deps.requestTimeoutMs).unref();

    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            requestId = requestIdOf(firstText(metadata, requestIdKey) || undefined);
            metadata.set(requestIdKey, requestId);
            pass(metadata);
          },
          onReceiveHalfClose(pass) {
            clearTimeout(receiveTimer);
            pass();
          },
          onCancel: () => finish(statusCode.CANCELLED),
        }),
      sendMetadata(metadata, next) {
        metadata.set(requestIdKey, requestId);
        next(metadata);
      },
    });
  };
}

/**
 * Puts itself before a call's own `sendStatus`. A responder would not do: grpc-js sends some statuses (deadline, size
 * limit, undecodable message) from below all interceptors, through this method only.
 */
function completeStatuses(
  call: ServerInterceptingCallInterface,
  requestId: () => string,
  finish: (code: number) => void,
): void {
  const send = call.sendStatus.bind(call);
  call.sendStatus = (given) => {
    const ours = given.code === statusCode.OK || (given.metadata?.get(detailsKey).length ?? 0) > 0;
    const status = ours ? given : libraryStatus(given.details ?? '', requestId());
    finish(status.code ?? statusCode.UNKNOWN);
    send(status);
  };
}

function methodLabels(path: string, requestStream: boolean, responseStream: boolean) {
  const [, service = '', method = ''] = path.split('/');
  const streams = [requestStream ? 'client' : '', responseStream ? 'server' : ''].filter((side) => side !== '');
  const type = ['unary', `${streams[0]}_stream`, 'bidi_stream'][streams.length] ?? 'unary';
  return { grpc_service: service, grpc_method: method, grpc_type: type };
}
