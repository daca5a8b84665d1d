import { lookup as dnsLookup } from 'node:dns/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { rootCertificates } from 'node:tls';
import { addressKind, bareHost, isInternalName } from './address.js';
import { FetchError } from './fetch-error.js';
import type { ProxyFor } from './proxy.js';
import { proxied, type RequestSettings } from './proxy-request.js';

/** What one fetch may do. */
export interface FetchPolicy {
  /** `any`: the operator named the host. Otherwise addresses are checked after resolution, before connecting. */
  readonly network: 'any' | 'public' | 'public-or-private';
  /** PEM, trusted beside the system's roots. */
  readonly caCert?: string | undefined;
  readonly bearerToken?: string | undefined;
}

export interface Fetcher {
  /** The body of a 200 answer as text. Throws FetchError within the time limit. */
  get(url: URL, policy: FetchPolicy): Promise<string>;
}

export interface FetcherOptions {
  readonly proxyFor: ProxyFor;
  /** For everything: name resolution, connecting, redirects, body. */
  readonly timeoutMs?: number;
  readonly maxBytes?: number;
  readonly resolve?: (hostname: string) => Promise<readonly { address: string; family: number }[]>;
}

const maxRedirects = 3;
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * The one way to the network for discovery documents and key sets: at most 5 s and 1 MiB in all, redirects only within
 * the same scheme, host and port, and, for hosts the operator did not name, no connection to an address that is not
 * public. The address that was checked is the one connected to, so a name that resolves differently the second time
 * gains nothing. Behind a proxy the proxy resolves: then literal addresses and internal names are refused instead.
 */
export function createFetcher(options: FetcherOptions): Fetcher {
  const { timeoutMs = 5_000 } = options;
  return {
    async get(url, policy) {
      const signal = AbortSignal.timeout(timeoutMs);
      try {
        return await follow(url, policy, options, signal);
      } catch (error) {
        if (error instanceof FetchError) throw error;
        if (signal.aborted) throw new FetchError(`it did not answer within ${timeoutMs / 1000} s`, true, error);
        throw new FetchError(connectionFailure(error), true, error);
      }
    },
  };
}

async function follow(start: URL, policy: FetchPolicy, options: FetcherOptions, signal: AbortSignal): Promise<string> {
  let url = start;
  for (let redirects = 0; redirects <= maxRedirects; redirects++) {
    const response = await send(url, policy, options, signal);
    const status = response.statusCode ?? 0;
    if (!redirectStatuses.has(status)) return await readBody(response, status, options.maxBytes ?? 1_048_576);
    response.destroy();
    url = redirectTarget(url, response.headers.location);
  }
  throw new FetchError(`it redirected more than ${maxRedirects} times`, false);
}

function redirectTarget(from: URL, location: string | undefined): URL {
  const base = from.href;
  if (location === undefined || !URL.canParse(location, base)) throw new FetchError('it redirected to no URL', false);
  const to = new URL(location, base);
  // Another host could be inside our network, and http after https would let anybody on the way answer.
  if (to.origin !== from.origin || to.username !== '' || to.password !== '') {
    throw new FetchError('it redirected to another host or scheme, which is not followed', false);
  }
  return to;
}

function send(url: URL, policy: FetchPolicy, options: FetcherOptions, signal: AbortSignal): Promise<IncomingMessage> {
  const proxy = options.proxyFor(url);
  checkHost(url, policy, proxy !== undefined);
  const settings: RequestSettings = {
    method: 'GET',
    signal,
    headers: {
      accept: 'application/json',
      'accept-encoding': 'identity',
      'user-agent': 'mayfly',
      ...(policy.bearerToken === undefined ? {} : { authorization: `Bearer ${policy.bearerToken}` }),
    },
    ...(policy.caCert === undefined ? {} : { ca: [...rootCertificates, policy.caCert] }),
  };
  if (proxy !== undefined) return proxied(url, proxy, settings);
  const direct = { ...settings, agent: false as const, lookup: checkedLookup(policy, options.resolve ?? resolveAll) };
  return new Promise((resolve, reject) => {
    const start = url.protocol === 'https:' ? httpsRequest : httpRequest;
    start(url, direct).once('response', resolve).on('error', reject).end();
  });
}

const resolveAll = (hostname: string) => dnsLookup(hostname, { all: true });

/** Node resolves no literal address, so the look-up hook below never sees one. */
function checkHost(url: URL, policy: FetchPolicy, viaProxy: boolean): void {
  if (policy.network === 'any') return;
  const host = bareHost(url);
  if (isIP(host) !== 0) checkAddress(host, policy);
  else if (viaProxy && policy.network === 'public' && isInternalName(host)) throw notPublic();
}

function checkAddress(address: string, policy: FetchPolicy): void {
  const kind = addressKind(address);
  if (policy.network === 'any' || kind === 'public') return;
  if (kind === 'never' || policy.network === 'public') throw notPublic();
}

function notPublic(): FetchError {
  return new FetchError(
    'its host is, or resolves to, an address that is not public, which is refused for issuers matched by a wildcard',
    false,
  );
}

/** One refused address refuses the name: no public host needs a private address beside its public one. */
function checkedLookup(policy: FetchPolicy, resolve: NonNullable<FetcherOptions['resolve']>): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname)
      .then((addresses) => {
        for (const { address } of addresses) checkAddress(address, policy);
        const [first] = addresses;
        if (first === undefined) throw new FetchError('its host has no address', true);
        if (options.all === true) callback(null, [...addresses]);
        else callback(null, first.address, first.family);
      })
      .catch((error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), '', 0));
  };
}

async function readBody(response: IncomingMessage, status: number, maxBytes: number): Promise<string> {
  if (status !== 200) {
    response.destroy();
    throw new FetchError(`it answered with status ${status}; expected 200`, status >= 500 || status === 429);
  }
  const encoding = response.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') {
    response.destroy();
    throw new FetchError('it answered in a compressed encoding that was not asked for', false);
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += Buffer.byteLength(chunk);
    if (size > maxBytes) throw new FetchError(`its answer is longer than ${maxBytes} bytes`, false);
    chunks.push(Buffer.from(chunk));
  }
  if (!response.complete) throw new FetchError('its answer ended early', true);
  return Buffer.concat(chunks).toString('utf8');
}

const failures: Readonly<Record<string, string>> = {
  ENOTFOUND: 'its host name does not exist',
  EAI_AGAIN: 'its host name cannot be resolved now',
  ECONNREFUSED: 'it refused the connection',
  ECONNRESET: 'it closed the connection',
  CERT_HAS_EXPIRED: 'its TLS certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its TLS certificate is for another host',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its TLS certificate is not trusted (a private root goes into ca-cert)',
  SELF_SIGNED_CERT_IN_CHAIN: 'its TLS certificate is not trusted (a private root goes into ca-cert)',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its TLS certificate is not trusted (a private root goes into ca-cert)',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its TLS certificate is not trusted (a private root goes into ca-cert)',
};

function connectionFailure(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
  return failures[code] ?? 'it could not be reached';
}
