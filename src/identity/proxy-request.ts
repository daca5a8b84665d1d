import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import { bareHost } from './address.js';
import { FetchError } from './fetch-error.js';
import { portOf } from './proxy.js';

/** What every request has in common, proxied or not. */
export type RequestSettings = Omit<RequestOptions, 'headers'> & { headers: OutgoingHttpHeaders; ca?: string[] };

/** Sends a request through a proxy: https in a CONNECT tunnel, http with the absolute URL as its target. */
export async function proxied(url: URL, proxy: URL, settings: RequestSettings): Promise<IncomingMessage> {
  if (url.protocol === 'http:') {
    const headers = { ...settings.headers, host: url.host, ...proxyAuthorization(proxy) };
    return respond(proxy, { ...settings, agent: false, path: url.href, headers });
  }
  const tunnel = await openTunnel(url, proxy, settings.signal);
  const host = bareHost(url);
  const createConnection = () =>
    tlsConnect({
      socket: tunnel,
      ...(isIP(host) === 0 ? { servername: host } : { host }),
      ...(settings.ca === undefined ? {} : { ca: settings.ca }),
    });
  try {
    return await respond(url, { ...settings, createConnection });
  } catch (error) {
    tunnel.destroy();
    throw error;
  }
}

function respond(url: URL, settings: RequestSettings): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const start = url.protocol === 'https:' ? httpsRequest : httpRequest;
    start(withoutCredentials(url), settings).once('response', resolve).on('error', reject).end();
  });
}

function openTunnel(url: URL, proxy: URL, signal: AbortSignal | undefined): Promise<Duplex> {
  const target = `${url.hostname}:${portOf(url)}`;
  return new Promise((resolve, reject) => {
    const start = proxy.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = start(withoutCredentials(proxy), {
      method: 'CONNECT',
      path: target,
      agent: false,
      headers: { host: target, ...proxyAuthorization(proxy) },
      ...(signal === undefined ? {} : { signal }),
    });
    request.once('connect', (response, socket) => {
      if (response.statusCode === 200) {
        socket.on('error', reject);
        return resolve(socket);
      }
      socket.destroy();
      reject(new FetchError(`the proxy answered CONNECT with status ${response.statusCode}`, true));
    });
    // An answer in place of the tunnel.
    request.once('response', (response) => {
      response.destroy();
      reject(new FetchError(`the proxy answered CONNECT with status ${response.statusCode}`, true));
    });
    request.on('error', reject);
    request.end();
  });
}

function proxyAuthorization(proxy: URL): OutgoingHttpHeaders {
  if (proxy.username === '' && proxy.password === '') return {};
  const credentials = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` };
}

function withoutCredentials(url: URL): URL {
  const bare = new URL(url);
  bare.username = '';
  bare.password = '';
  return bare;
}
