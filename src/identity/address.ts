import ipaddr from 'ipaddr.js';

export type AddressKind = 'public' | 'private' | 'never';

/**
 * Where metadata services answer although the range says otherwise: Azure's wire server is in public space, Alibaba's in
 * carrier-grade NAT, AWS's IPv6 one in unique local space; 169.254.169.254 and its kin are link-local.
 */
const metadataAddresses: ReadonlySet<string> = new Set(['168.63.129.16', '100.100.100.200', 'fd00:ec2::254']);

/** Ranges an operator may have a network in. */
const privateRanges: ReadonlySet<string> = new Set(['private', 'loopback', 'carrierGradeNat', 'uniqueLocal']);

/**
 * What kind of host an IP address leads to: `public` (global unicast), `private` (RFC 1918, RFC 4193, RFC 6598,
 * loopback) or `never` (link-local, metadata services, multicast, reserved, unspecified, text that is no address).
 * An IPv4 address inside an IPv6 one (mapped, NAT64) counts as itself.
 */
export function addressKind(text: string): AddressKind {
  if (!ipaddr.isValid(text)) return 'never';
  const address = unwrap(ipaddr.process(text));
  if (metadataAddresses.has(address.toString())) return 'never';
  const range = address.range();
  if (range === 'unicast') return 'public';
  return privateRanges.has(range) ? 'private' : 'never';
}

/** 64:ff9b::/96 (RFC 6052) carries an IPv4 address in its last four bytes. */
function unwrap(address: ipaddr.IPv4 | ipaddr.IPv6): ipaddr.IPv4 | ipaddr.IPv6 {
  return address.kind() === 'ipv6' && address.range() === 'rfc6052'
    ? ipaddr.fromByteArray(address.toByteArray().slice(-4))
    : address;
}

/** Names that lead into a network rather than onto the internet; for when a proxy, not we, resolves the name. */
export function isInternalName(hostname: string): boolean {
  const name = hostname.toLowerCase().replace(/\.$/, '');
  return !name.includes('.') || /\.(?:localhost|local|internal|localdomain|home\.arpa)$/.test(name);
}

/** The host of a URL without the brackets of an IPv6 address. */
export function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}
