import { createHash } from 'node:crypto';
import type { LogEntry } from '../ctlog/reads.js';
import { searchedFields } from './certificate.js';

/** What a search may look in, by the letter it has in the index. */
export const searchKinds = { identity: 'i', issuer: 'o', serial: 's' } as const;

export type SearchKind = keyof typeof searchKinds;

/** Bytes of a term in the index. */
export const termBytes = 16;

/** URLs are found by their host and this many path segments too: an owner, a repository. */
const maxSegments = 3;

/**
 * The terms under which an entry is found: its identities whole, the domain of a mail address ("@example.com" and
 * "example.com"), the first segments of a URL, its issuer and its serial number. An entry that cannot be read has none.
 */
export function termsOf(entry: LogEntry): readonly Uint8Array[] {
  const { names, issuers, serial } = searchedFields(entry);
  const identities = names.flatMap(({ value }) => [value, ...broader(value)]);
  return [
    ...[...new Set(identities.map(normal))].map((text) => hashOf('identity', text)),
    ...issuers.map((text) => hashOf('issuer', normal(text))),
    ...(serial === undefined ? [] : [hashOf('serial', serialText(serial) ?? '')]),
  ];
}

/** The term that `query` is in a search of this kind; undefined when it cannot be one, as "jane" is no serial number. */
export function queryTerm(kind: SearchKind, query: string): Uint8Array | undefined {
  const text = kind === 'serial' ? serialText(query) : normal(query);
  return text === undefined || text === '' ? undefined : hashOf(kind, text);
}

function broader(identity: string): readonly string[] {
  const url = /^([a-z][a-z0-9+.-]*:\/\/[^/]+)(\/.*)?$/is.exec(identity);
  const [, host, path = ''] = url ?? [];
  if (host === undefined) {
    const domain = identity.slice(identity.lastIndexOf('@') + 1);
    return identity.includes('@') ? [domain, `@${domain}`] : [];
  }
  const segments = path.split('/').slice(1, maxSegments + 1);
  return [host, ...segments.map((_, i) => `${host}/${segments.slice(0, i + 1).join('/')}`)];
}

/** Capital letters make no difference, nor does the scheme of a web address or a slash at its end. */
function normal(text: string): string {
  return text
    .trim()
    .toLowerCase()
    .replace(/^https?:\/\//, '')
    .replace(/\/+$/, '');
}

/** Hexadecimal in the forms in which OpenSSL and people write it. */
function serialText(text: string): string | undefined {
  const digits = text.trim().toLowerCase().replace(/^0x/, '').replaceAll(/[\s:]/g, '');
  return /^[0-9a-f]{1,64}$/.test(digits) ? digits.replace(/^0+(?=.)/, '') : undefined;
}

function hashOf(kind: SearchKind, text: string): Uint8Array {
  return createHash('sha256').update(`${searchKinds[kind]}${text}`).digest().subarray(0, termBytes);
}
