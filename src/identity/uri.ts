import { AppError } from '../errors.js';
import { quote } from './quote.js';

/** RFC 3986 Section 3, split only; every part may still hold anything. */
const parts = /^([A-Za-z][A-Za-z0-9+.-]*):(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a URI must not hold
const control = /[\u0000-\u001f\u007f]/;
const badEscape = /%(?![0-9A-Fa-f]{2})/;
/** What may stand in a path as it is; one character outside of it and the whole path is encoded, as Go does. */
const plainPath = /^[A-Za-z0-9\-._~!$&'()*+,;=:@/[\]%]*$/;
const plainQuery = /^[A-Za-z0-9\-._~!$&'()*+,;=:@/?[\]%"<>^`{|}\\]*$/;

export interface Uri {
  /** Lower case. */
  readonly scheme: string;
  readonly authority: string;
  /** Without user and port; with its brackets if it is an IPv6 address. */
  readonly host: string;
  readonly text: string;
}

/**
 * A URI as it may stand in a certificate: absolute, ASCII, percent-encoded where the text holds what a URI may not, and
 * with escapes that were there kept. For valid URIs this is the identity; for the rest it follows Go's
 * `url.Parse(x).String()`, with one difference: Go decodes `%2F` when something else in the path needs encoding.
 *
 * `what` names the text in messages. Throws AppError SUBJECT_INVALID for control characters, broken escapes, a missing
 * scheme or a host that is none.
 */
export function parseUri(text: string, what: string): Uri {
  if (control.test(text)) throw invalid(text, what, 'it has a control character');
  if (badEscape.test(text)) throw invalid(text, what, 'a % in it is not followed by two hexadecimal digits');
  if (/\p{Cs}/u.test(text)) throw invalid(text, what, 'it has half a surrogate pair');
  const [, scheme, authority, path = '', query, fragment] = parts.exec(text) ?? [];
  if (scheme === undefined) throw invalid(text, what, 'it has no scheme; expected an absolute URI');
  if (authority === undefined && path === '') throw invalid(text, what, 'nothing follows the scheme');
  const host = authority === undefined ? '' : hostOf(authority, text, what);
  const normalized =
    `${scheme.toLowerCase()}:` +
    (authority === undefined ? '' : `//${encodeOthers(authority, /[A-Za-z0-9\-._~!$&'()*+,;=:@[\]%]/)}`) +
    (plainPath.test(path) ? path : encodeOthers(path, /[A-Za-z0-9\-._~$&+,/:;=@%]/)) +
    (query === undefined ? '' : `?${plainQuery.test(query) ? query : encodeOthers(query, /[!-~]/)}`) +
    (fragment === undefined || fragment === '' ? '' : `#${encodeFragment(fragment)}`);
  return { scheme: scheme.toLowerCase(), authority: authority ?? '', host, text: normalized };
}

function encodeFragment(fragment: string): string {
  return plainPath.test(fragment) ? fragment : encodeOthers(fragment, /[A-Za-z0-9\-._~$&+,/:;=?@!()*%]/);
}

function hostOf(authority: string, text: string, what: string): string {
  const hostAndPort = authority.slice(authority.lastIndexOf('@') + 1);
  const user = authority.slice(0, -hostAndPort.length - 1);
  if (!/^[A-Za-z0-9\-._:~!$&'()*+,;=%]*$/.test(user))
    throw invalid(text, what, 'its user part has characters that none has');
  const match = /^(\[[0-9A-Fa-f:.%]+\]|[^[\]:@\\ "<>^`{|}]+)(?::\d*)?$/.exec(hostAndPort);
  if (match?.[1] === undefined) throw invalid(text, what, 'its host is empty or has characters that no host has');
  return match[1];
}

function encodeOthers(text: string, keep: RegExp): string {
  let out = '';
  for (const char of text) out += keep.test(char) ? char : encodeChar(char);
  return out;
}

function encodeChar(char: string): string {
  let out = '';
  for (const byte of Buffer.from(char, 'utf8')) out += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return out;
}

function invalid(text: string, what: string, reason: string): AppError {
  return new AppError('SUBJECT_INVALID', `${what} ${quote(text)} cannot be the URI of a certificate: ${reason}`);
}
