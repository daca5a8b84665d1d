import type { Server as HttpServer } from 'node:http';
import { type Server as HttpsServer, Server as TlsHttpServer } from 'node:https';
import type { Socket } from 'node:net';

/** What every HTTP/2 connection begins with, TLS or not (RFC 9113 Section 3.4). No HTTP/1 request can. */
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/**
 * The ALPN choice of a TLS port that both share (RFC 7301): HTTP/1.1 for whoever speaks it, since what speaks HTTP/2 here
 * is gRPC only, and a gRPC client offers nothing but h2.
 */
export function sharedAlpn({ protocols }: { readonly protocols: readonly string[] }): string | undefined {
  return ['http/1.1', 'h2'].find((protocol) => protocols.includes(protocol));
}

/** A port on which HTTP/1 and gRPC are both served. */
export interface SharedPort {
  /** Drops the connections that have not said yet what they speak and leaves new ones to HTTP, so that it can close. */
  close(): void;
}

/**
 * Lets gRPC share the port of an HTTP server that may already listen: a connection that begins with the HTTP/2 preface
 * goes to `acceptHttp2`, any other to the server itself, each with every byte it sent. A connection that says nothing
 * for `timeoutMs` is dropped. With TLS, create the server with `ALPNCallback: sharedAlpn`.
 */
export function shareWithGrpc(
  server: HttpServer | HttpsServer,
  acceptHttp2: (socket: Socket) => void,
  timeoutMs: number,
): SharedPort {
  // With TLS, 'connection' is the bytes before the handshake; the application's begin at 'secureConnection'.
  const event = server instanceof TlsHttpServer ? 'secureConnection' : 'connection';
  const acceptHttp1 = server.listeners(event) as Listener[];
  const undecided = new Set<Socket>();
  const share = (socket: Socket): void => {
    undecided.add(socket);
    sniff(socket, timeoutMs, (verdict) => {
      undecided.delete(socket);
      if (verdict === 'http2') acceptHttp2(socket);
      if (verdict !== 'http1') return;
      for (const accept of acceptHttp1) accept.call(server, socket);
      socket.resume();
    });
  };
  const setListeners = (listeners: readonly Listener[]): void => {
    server.removeAllListeners(event);
    for (const listener of listeners) server.on(event, listener);
  };
  setListeners([share]);
  return {
    close() {
      setListeners(acceptHttp1);
      for (const socket of undecided) socket.destroy();
    },
  };
}

type Listener = (socket: Socket) => void;
type Verdict = 'http1' | 'http2' | 'gone';

/** Reads just enough to tell, puts what it read back, and leaves the socket paused and without listeners of its own. */
function sniff(socket: Socket, timeoutMs: number, done: (verdict: Verdict) => void): void {
  let seen = Buffer.alloc(0);
  const decide = (verdict: Verdict): void => {
    clearTimeout(timer);
    socket.off('data', onData).off('end', onGone).off('close', onGone);
    if (verdict === 'gone') {
      socket.destroy();
    } else {
      socket.off('error', onGone);
      socket.pause();
      socket.unshift(seen);
    }
    done(verdict);
  };
  const onGone = (): void => decide('gone');
  const onData = (chunk: Buffer): void => {
    seen = Buffer.concat([seen, chunk]);
    const compared = Math.min(seen.length, preface.length);
    if (!seen.subarray(0, compared).equals(preface.subarray(0, compared))) decide('http1');
    else if (compared === preface.length) decide('http2');
  };
  const timer = setTimeout(onGone, timeoutMs).unref();
  socket.on('data', onData).once('end', onGone).once('close', onGone).once('error', onGone);
}
