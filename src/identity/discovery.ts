import { isObject } from './claims.js';
import { FetchError } from './fetch-error.js';
import type { Fetcher, FetchPolicy } from './fetcher.js';
import { type IssuerKey, parseJwks } from './jwks.js';
import { describe, quote } from './quote.js';
import { isSignatureAlgorithm, type SignatureAlgorithm } from './signature.js';

/** What is known of an issuer at one moment. */
export interface IssuerKeys {
  readonly keys: readonly IssuerKey[];
  /** Algorithms its tokens may use. */
  readonly algorithms: ReadonlySet<SignatureAlgorithm>;
}

/** A document that was fetched and cannot be used; the message may go to a client. */
export class DiscoveryError extends Error {
  override readonly name = 'DiscoveryError';
}

export interface DiscoveryTarget {
  readonly issuer: string;
  readonly policy: FetchPolicy;
  /** Where to fetch the keys from, given `jwks_uri`; the identity unless the issuer lives in our own cluster. */
  readonly keysUrl?: (jwksUri: URL) => URL;
}

/** OpenID Connect Discovery 1.0 Section 3: what an issuer that lists no algorithms must mean. */
const defaultAlgorithms: ReadonlySet<SignatureAlgorithm> = new Set<SignatureAlgorithm>(['RS256']);

/**
 * Fetches an issuer's discovery document and key set (OpenID Connect Discovery 1.0 Section 4). The document's `issuer`
 * must be the issuer, character for character; `jwks_uri` must be https, or http where the issuer itself is.
 * Throws FetchError or DiscoveryError.
 */
export async function discover(target: DiscoveryTarget, fetcher: Fetcher): Promise<IssuerKeys> {
  const base = target.issuer.replace(/\/$/, '');
  const text = await named(
    'discovery document',
    fetcher.get(new URL(`${base}/.well-known/openid-configuration`), target.policy),
  );
  const { jwksUri, algorithms } = parseDiscovery(text, target.issuer);
  const jwks = await named('key set', fetcher.get(target.keysUrl?.(jwksUri) ?? jwksUri, target.policy));
  try {
    return { keys: parseJwks(jwks).keys, algorithms };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DiscoveryError(`its key set cannot be used: ${reason}`, { cause: error });
  }
}

/** Says which of the two fetches failed. */
async function named(what: string, fetching: Promise<string>): Promise<string> {
  try {
    return await fetching;
  } catch (error) {
    if (error instanceof FetchError) throw new FetchError(`${what}: ${error.message}`, error.temporary, error);
    throw error;
  }
}

/** Reads a discovery document. Throws DiscoveryError saying what it holds and what was expected. */
export function parseDiscovery(text: string, issuer: string): { jwksUri: URL; algorithms: IssuerKeys['algorithms'] } {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new DiscoveryError('its discovery document is not valid JSON');
  }
  if (!isObject(document))
    throw new DiscoveryError(`its discovery document is ${describe(document)}; expected an object`);
  if (document.issuer !== issuer) {
    throw new DiscoveryError(
      `its discovery document is for issuer ${describe(document.issuer)}; expected ${quote(issuer)}`,
    );
  }
  return {
    jwksUri: parseJwksUri(document.jwks_uri, issuer),
    algorithms: parseAlgorithms(document.id_token_signing_alg_values_supported),
  };
}

function parseJwksUri(value: unknown, issuer: string): URL {
  if (typeof value === 'string' && URL.canParse(value)) {
    const url = new URL(value);
    const schemes = issuer.startsWith('https:') ? ['https:'] : ['https:', 'http:'];
    if (schemes.includes(url.protocol) && url.username === '' && url.password === '') return url;
  }
  const expected = issuer.startsWith('https:') ? 'an https URL' : 'an http or https URL';
  throw new DiscoveryError(`its discovery document has the jwks_uri ${describe(value)}; expected ${expected}`);
}

function parseAlgorithms(value: unknown): IssuerKeys['algorithms'] {
  const known = Array.isArray(value) ? value.filter(isSignatureAlgorithm) : [];
  // RFC 9864 gave EdDSA over Ed25519 a second name.
  const both = known.flatMap((name): SignatureAlgorithm[] =>
    name === 'EdDSA' || name === 'Ed25519' ? ['EdDSA', 'Ed25519'] : [name],
  );
  return both.length === 0 ? defaultAlgorithms : new Set(both);
}
