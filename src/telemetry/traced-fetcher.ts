import type { Fetcher } from '../identity/fetcher.js';
import type { Tracing } from './tracing.js';

/** A fetcher whose fetches are spans of the requests that wait for them. Issuers are strangers: they learn no trace ids. */
export function tracedFetcher(fetcher: Fetcher, tracing: Tracing | undefined): Fetcher {
  if (tracing === undefined) return fetcher;
  return {
    get: (url, policy) =>
      tracing.span('keys fetch', { 'server.address': url.host, 'url.path': url.pathname }, () =>
        fetcher.get(url, policy),
      ),
  };
}
