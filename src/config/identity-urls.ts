import { asText } from './identity-fields.js';
import { configError, type LocatedEntry, where } from './identity-tree.js';

/** Refuses an `oidc-issuers` key that cannot be an issuer (OpenID Connect Discovery 1.0 Section 3): AppError STARTUP. */
export function checkIssuerUrl(entry: LocatedEntry, warnings: string[]): void {
  if (entry.key.includes('*')) {
    throw configError(entry, 'has a *, which has a meaning under meta-issuers only');
  }
  checkUrl(entry, entry.key);
  warnClearText(entry, warnings);
}

/** A `*` stands for one host label or path part, whole or in part: at most one star in each. */
export function checkPattern(entry: LocatedEntry, warnings: string[]): void {
  const pattern = entry.key;
  if (!pattern.includes('*')) throw configError(entry, 'has no *; an issuer without one belongs under oidc-issuers');
  checkUrl(entry, pattern.replaceAll('*', 'x'));
  warnClearText(entry, warnings);
  const [, authority = '', path = ''] = /^https?:\/\/([^/]*)(.*)$/.exec(pattern) ?? [];
  const [host = '', port = ''] = authority.split(':');
  if (port.includes('*')) throw configError(entry, 'has a * in the port; expected it in host labels or path parts');
  for (const part of [...host.split('.'), ...path.split('/')]) {
    if (part.split('*').length > 2) throw configError(entry, `has two * in "${part}"; expected at most one`);
  }
  if (host.split('.').slice(-2).join('.').includes('*')) {
    warnings.push(`${where(entry)}a * in the last two labels of the host matches domains that anyone can register`);
  }
}

function warnClearText(entry: LocatedEntry, warnings: string[]): void {
  if (!entry.key.startsWith('http://') || /^http:\/\/(?:localhost|127\.[\d.]+|\[::1\])(?:[:/]|$)/.test(entry.key))
    return;
  warnings.push(
    `${where(entry)}is http: whoever can change traffic on the way can sign tokens in its name; expected https`,
  );
}

function checkUrl(entry: LocatedEntry, text: string): void {
  if (!/^https?:\/\/[^/?#@\\\s]+(\/[^?#\\\s]*)?$/.test(text) || !URL.canParse(text)) {
    throw configError(entry, 'is not an issuer; expected an http or https URL without user, query, fragment or spaces');
  }
}

/**
 * The subject domain of a `uri` or `username` issuer. It must be the issuer's own host or share its last two labels,
 * so that an issuer cannot hand out names of somebody else's domain. Throws AppError STARTUP.
 */
export function checkSubjectDomain(
  issuer: LocatedEntry,
  entry: LocatedEntry | undefined,
  type: 'uri' | 'username',
  issuerUrl: string,
): string {
  const text = asText(entry);
  if (entry === undefined || text === '') throw configError(issuer, `has no subject-domain; type ${type} needs one`);
  const host = type === 'uri' ? uriHost(entry, text) : text;
  if (!/^[A-Za-z0-9._-]+$/.test(host)) {
    const example = type === 'uri' ? 'https://example.com' : 'example.com';
    throw configError(entry, `"${text}" is not a domain; expected something like ${example}`);
  }
  const issuerHost = /^https?:\/\/([^/:]*)/.exec(issuerUrl)?.[1] ?? '';
  if (host !== issuerHost && !sharesTwoLabels(host, issuerHost)) {
    throw configError(
      entry,
      `"${text}" has another domain than the issuer's host "${issuerHost}"; expected the same last two labels`,
    );
  }
  return text;
}

function uriHost(entry: LocatedEntry, text: string): string {
  const match = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/([^/?#:@]*)(?::\d+)?\/?$/.exec(text);
  if (match?.[1] !== undefined) return match[1];
  throw configError(
    entry,
    `"${text}" has no scheme or is more than a domain; expected something like https://example.com`,
  );
}

function sharesTwoLabels(a: string, b: string): boolean {
  const [aLast, bLast] = [a, b].map((host) => host.split('.').slice(-2).join('.'));
  return aLast === bLast && aLast !== undefined && aLast.includes('.') && !aLast.includes('*');
}
