import type { Server } from 'node:net';
import { AppError, messageOf } from './errors.js';

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the port is taken by another process',
  EACCES: 'this user may not bind that port',
  EADDRNOTAVAIL: 'this machine does not have that address',
  ENOTFOUND: 'there is no such host',
};

/**
 * Connections that may wait to be accepted; the kernel allows at most net.core.somaxconn. With Node's own 511 a crowd that
 * comes at once overflows the queue: the kernel then drops what clients send, and they wait seconds for TCP to repeat it,
 * for a server that would have answered in milliseconds.
 */
const backlog = 8192;

/**
 * Binds a server and resolves with its port (the one taken when `port` is 0). Throws AppError STARTUP naming the flag
 * when it cannot.
 */
export function listen(server: Server, host: string, port: number, flag: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      const why = reasons[error.code ?? ''] ?? messageOf(error);
      reject(new AppError('STARTUP', `${flag}: cannot listen on ${host}:${port}: ${why}`, { cause: error }));
    };
    server.once('error', onError);
    server.listen({ port, host, backlog }, () => {
      server.off('error', onError);
      const address = server.address();
      resolve(address !== null && typeof address === 'object' ? address.port : port);
    });
  });
}

/** A host as it stands in a URL that can be opened: the wildcard addresses stand for this machine. */
export function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::' || host === '') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}
