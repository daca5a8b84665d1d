import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { logVerbosity, Server, ServerCredentials, type ServiceDefinition, setLogVerbosity } from '@grpc/grpc-js';
import { type Check, isReady } from '../http/app.js';
import type { TlsMaterial } from '../http/tls.js';
import { listen } from '../listen.js';
import type { Metrics } from '../metrics.js';
import { type CaServiceDeps, caHandlers } from './ca-service.js';
import { caService, describedPackages, healthService, reflectionServices } from './definitions.js';
import { createHealth, type Health } from './health-service.js';
import { createInterceptor } from './interceptor.js';
import { reflectionHandlers } from './reflection-service.js';

/** Fulcio's limit for a request message, in bytes. */
const messageLimit = 4 * 1024 * 1024;
const handshakeTimeoutMs = 10_000;

export interface GrpcDeps extends CaServiceDeps {
  readonly readiness: () => readonly Pick<Check, 'ok' | 'required'>[];
  readonly metrics: Metrics;
  /** How long a connection without a call is kept; 30 s unless given. */
  readonly idleConnectionTimeoutMs?: number;
  /** Connections at once; no limit unless given. */
  readonly maxConnections?: number;
  /** How often Watch looks for a change of readiness; 1 s unless given. */
  readonly healthWatchIntervalMs?: number;
}

export interface GrpcListenOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly tls?: TlsMaterial;
}

/** The gRPC side of the CA: dev.sigstore.fulcio.v2.CA, grpc.health.v1 and server reflection. */
export interface GrpcServer {
  /** Binds a port and resolves with it; throws AppError STARTUP naming --grpc-port when it cannot. */
  listen(options: GrpcListenOptions): Promise<number>;
  /** Serves a connection that speaks HTTP/2, TLS already done: a port shared with HTTP hands such sockets over. */
  accept(socket: Socket): void;
  /** Takes no more calls, ends every Watch, waits up to `graceMs` for the calls in flight, then cuts the rest off. */
  close(graceMs: number): Promise<void>;
}

/** Translates the wire to issue() and back, nothing else; serves nobody before `listen` or `accept`. */
export function createGrpcServer(deps: GrpcDeps): GrpcServer {
  // grpc-js writes header values that it cannot take, tokens included, to standard error.
  setLogVerbosity(logVerbosity.NONE);
  const health = createHealth(() => isReady(deps.readiness()), deps.healthWatchIntervalMs ?? 1000);
  const server = createServices(deps, health);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listeners: NetServer[] = [];
  const connections = new Set<Socket>();
  const served = new Set<Socket>();
  let closing = false;
  const accept = (socket: Socket): void => {
    if (closing || socket.destroyed) {
      socket.destroy();
      return;
    }
    // A reset peer is no news, and the HTTP/2 session ends with its socket.
    socket.on('error', () => undefined);
    track(served, socket);
    injector.injectConnection(socket);
  };
  return {
    accept,
    async listen({ host, port, tls }) {
      const listener = createListener(tls, accept);
      listener.maxConnections = deps.maxConnections ?? Number.POSITIVE_INFINITY;
      listener.on('connection', (socket) => track(connections, socket));
      const bound = await listen(listener, host, port, '--grpc-port');
      listeners.push(listener);
      return bound;
    },
    async close(graceMs) {
      closing = true;
      health.shutDown();
      const closed = listeners.map((listener) => new Promise((resolve) => listener.close(resolve)));
      await shutDown(server, served, graceMs);
      for (const socket of [...connections, ...served]) socket.destroy();
      await Promise.all(closed);
    },
  };
}

function createServices(deps: GrpcDeps, health: Health): Server {
  const server = new Server({
    interceptors: [createInterceptor(deps)],
    'grpc.max_receive_message_length': messageLimit,
    'grpc.max_concurrent_streams': 100,
    'grpc.max_connection_idle_ms': deps.idleConnectionTimeoutMs ?? 30_000,
    'grpc.keepalive_time_ms': 60_000,
    'grpc.enable_channelz': 0,
  });
  server.addService(withRawRequest(caService, 'CreateSigningCertificate'), caHandlers(deps));
  server.addService(healthService, health.handlers);
  const reflection = reflectionHandlers(describedPackages);
  for (const service of reflectionServices) server.addService(service, reflection);
  return server;
}

function createListener(tls: TlsMaterial | undefined, accept: (socket: Socket) => void): NetServer {
  if (tls === undefined) return createServer({ noDelay: true }, accept);
  const options = { ...tls, ALPNProtocols: ['h2'], handshakeTimeout: handshakeTimeoutMs, noDelay: true };
  return createTlsServer(options, accept);
}

/** A service whose one method hands its handler the request's bytes instead of the decoded message. */
function withRawRequest(service: ServiceDefinition, name: string): ServiceDefinition {
  const method = service[name];
  if (method === undefined) throw new Error(`the service has no method ${name}`);
  return { ...service, [name]: { ...method, requestDeserialize: (bytes: Buffer) => bytes } };
}

/** Keeps a socket in the set for as long as it is open. */
function track(open: Set<Socket>, socket: Socket): void {
  open.add(socket);
  socket.once('close', () => open.delete(socket));
}

/**
 * Each connection closes once its calls have ended. The callback of `tryShutdown` does not tell when: since Node 24 the
 * HTTP/2 server's own close() marks every session closed, and grpc-js does not wait for a session so marked.
 */
async function shutDown(server: Server, served: ReadonlySet<Socket>, graceMs: number): Promise<void> {
  const drained = Promise.all([...served].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  server.tryShutdown(() => undefined);
  let timer: NodeJS.Timeout | undefined;
  const outOfPatience = new Promise((resolve) => {
    timer = setTimeout(resolve, graceMs);
  });
  await Promise.race([drained, outOfPatience]);
  clearTimeout(timer);
  server.forceShutdown();
}
