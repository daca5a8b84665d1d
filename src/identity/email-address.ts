const atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?';
/** The last label begins and ends with a letter, so that an IPv4 address is no domain. */
const lastLabel = '[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z])?';
const address = new RegExp(`^${atom}(?:\\.${atom})*@(?:${label}\\.)+${lastLabel}$`);

/**
 * Whether text is an address that an rfc822Name can hold (RFC 5280 Section 4.2.1.6: RFC 5321 Mailbox, ASCII): dot-atom
 * local part of at most 64 characters, a domain of at least two labels, 254 characters in all. Quoted local parts and
 * address literals are not taken.
 */
export function isEmailAddress(text: string): boolean {
  return text.length <= 254 && text.indexOf('@') <= 64 && address.test(text);
}
