import type {
  handleServerStreamingCall,
  handleUnaryCall,
  ServerWritableStream,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { AppError } from '../errors.js';
import { caServiceName, healthServiceName } from './definitions.js';
import { requestIdOfCall, statusOf } from './rpc-status.js';

/** grpc.health.v1.HealthCheckResponse.ServingStatus. */
export const servingStatus = { serving: 1, notServing: 2, serviceUnknown: 3 } as const;

type ServingStatus = (typeof servingStatus)[keyof typeof servingStatus];

interface HealthRequest {
  readonly service: string;
}
interface HealthAnswer {
  readonly status: ServingStatus;
}
type Watcher = ServerWritableStream<HealthRequest, HealthAnswer>;

/** grpc.health.v1 over the instance's readiness. */
export interface Health {
  readonly handlers: UntypedServiceImplementation;
  /** Says NOT_SERVING from now on and ends every Watch. */
  shutDown(): void;
}

/** '' is the server as a whole. None of them can do its work while a dependency is down. */
const services: readonly string[] = ['', caServiceName, healthServiceName];

/**
 * The health service (https://github.com/grpc/grpc/blob/master/doc/health-checking.md): SERVING while `isReady`.
 * Readiness is asked for, not announced, so Watch looks every `watchIntervalMs` while somebody watches.
 */
export function createHealth(isReady: () => boolean, watchIntervalMs: number): Health {
  let down = false;
  const statusNow = (): ServingStatus => (!down && isReady() ? servingStatus.serving : servingStatus.notServing);
  const watchers = createWatchers(statusNow, watchIntervalMs);

  const check: handleUnaryCall<HealthRequest, HealthAnswer> = (call, callback) => {
    if (services.includes(call.request.service)) {
      callback(null, { status: statusNow() });
      return;
    }
    const error = new AppError('NOT_FOUND', `the services here are ${services.slice(1).join(' and ')}`);
    callback(statusOf(error, requestIdOfCall(call.metadata)));
  };
  const list: handleUnaryCall<object, object> = (_call, callback) => {
    const answer: HealthAnswer = { status: statusNow() };
    callback(null, { statuses: services.map((service) => ({ key: service, value: answer })) });
  };
  const watch: handleServerStreamingCall<HealthRequest, HealthAnswer> = (call) => {
    watchers.add(call);
    if (down) watchers.endAll();
  };
  return {
    handlers: { Check: check, List: list, Watch: watch },
    shutDown() {
      down = true;
      watchers.endAll();
    },
  };
}

/** The open Watch streams and the status each was told last; a timer runs while there are any. */
function createWatchers(statusNow: () => ServingStatus, intervalMs: number) {
  const told = new Map<Watcher, ServingStatus | undefined>();
  let timer: NodeJS.Timeout | undefined;

  const tellAll = (): void => {
    const now = statusNow();
    for (const [watcher, last] of told) {
      // The protocol keeps a stream for an unknown service open, because the service may come.
      const status = services.includes(watcher.request.service) ? now : servingStatus.serviceUnknown;
      if (status === last) continue;
      told.set(watcher, status);
      watcher.write({ status });
    }
  };
  const forget = (watcher: Watcher): void => {
    told.delete(watcher);
    if (told.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
  return {
    add(watcher: Watcher): void {
      watcher.once('cancelled', () => forget(watcher));
      told.set(watcher, undefined);
      tellAll();
      timer ??= setInterval(tellAll, intervalMs).unref();
    },
    endAll(): void {
      tellAll();
      for (const watcher of [...told.keys()]) {
        watcher.end();
        forget(watcher);
      }
    },
  };
}
