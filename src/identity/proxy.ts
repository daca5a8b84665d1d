import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { AppError } from '../errors.js';
import { bareHost } from './address.js';

/** Which proxy a URL is fetched through; undefined for none. */
export type ProxyFor = (url: URL) => URL | undefined;

/**
 * The proxy settings of HTTPS_PROXY, HTTP_PROXY and NO_PROXY (or in lower case), read once. As in Go, loopback hosts are
 * never proxied, and a NO_PROXY entry is `*`, an IP, a CIDR block, a domain (with all below it) or `.domain` (only those
 * below it), each with an optional port. Throws AppError STARTUP for a proxy that is no http or https URL.
 */
export function proxyFromEnv(env: Readonly<Record<string, string | undefined>>): ProxyFor {
  const proxies = { 'https:': proxyUrl(env, 'HTTPS_PROXY'), 'http:': proxyUrl(env, 'HTTP_PROXY') };
  const exceptions = (env.NO_PROXY ?? env.no_proxy ?? '')
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== '');
  return (url) => {
    const proxy = url.protocol === 'https:' ? proxies['https:'] : proxies['http:'];
    if (proxy === undefined || isLoopback(bareHost(url))) return undefined;
    return exceptions.some((entry) => excepts(entry, url)) ? undefined : proxy;
  };
}

function proxyUrl(env: Readonly<Record<string, string | undefined>>, name: string): URL | undefined {
  const text = env[name] ?? env[name.toLowerCase()] ?? '';
  if (text === '') return undefined;
  const withScheme = text.includes('://') ? text : `http://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url;
  // The value may hold a password, so it is not shown.
  throw new AppError('STARTUP', `${name} is not a proxy that can be used; expected an http or https URL`);
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || (isIP(host) !== 0 && ipaddr.process(host).range() === 'loopback');
}

function excepts(entry: string, url: URL): boolean {
  if (entry === '*') return true;
  const host = bareHost(url).toLowerCase();
  if (isIP(host) !== 0) return exceptsAddress(entry, host, url);
  const [name = '', port] = entry.replace(/^\*\./, '.').split(':');
  if (port !== undefined && port !== portOf(url)) return false;
  return name.startsWith('.') ? host.endsWith(name) : host === name || host.endsWith(`.${name}`);
}

function exceptsAddress(entry: string, host: string, url: URL): boolean {
  if (entry === host || entry === `${host}:${portOf(url)}`) return true;
  if (!ipaddr.isValidCIDR(entry)) return false;
  const address = ipaddr.process(host);
  const [network, bits] = ipaddr.parseCIDR(entry);
  return address.kind() === network.kind() && address.match(network, bits);
}

export function portOf(url: URL): string {
  return url.port !== '' ? url.port : url.protocol === 'https:' ? '443' : '80';
}
