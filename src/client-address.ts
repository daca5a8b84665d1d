import { isIP, isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** A range of addresses, such as 10.0.0.0/8. */
export type AddressRange = readonly [address: Address, prefixLength: number];

/**
 * The address a request came from, as log lines, limits and the audit trail name it: the peer of its connection, or, where
 * that is a trusted proxy, who the proxies say it was. `forwardedFor` is the value of X-Forwarded-For, all of it.
 */
export type ClientAddress = (peer: string | undefined, forwardedFor: string | undefined) => string | undefined;

/** A range in CIDR notation, or a single address; undefined for anything else. */
export function parseAddressRange(text: string): AddressRange | undefined {
  const address = parse(text.replace(/\/\d+$/, ''));
  if (address === undefined) return undefined;
  if (text.includes('/')) return ipaddr.isValidCIDR(text) ? ipaddr.parseCIDR(text) : undefined;
  return [address, address.kind() === 'ipv4' ? 32 : 128];
}

/**
 * Reads X-Forwarded-For from its end, which the nearest proxy wrote, up to the first address that is no trusted proxy:
 * what stands before that was written by the client and can be anything. Without `trusted`, the header is not looked at.
 */
export function clientAddressOf(trusted: readonly AddressRange[] | undefined): ClientAddress {
  return (peer, forwardedFor) => {
    // The common case, without the package: the kernel writes an IPv4 address in one way only.
    if (trusted === undefined && peer !== undefined && isIPv4(peer)) return peer;
    const connected = peer === undefined ? undefined : parse(peer);
    if (connected === undefined || trusted === undefined) return connected?.toString();
    let client = connected;
    for (const hop of (forwardedFor ?? '').split(',').reverse()) {
      const next = isIn(client, trusted) ? parse(hop.trim()) : undefined;
      if (next === undefined) break;
      client = next;
    }
    return client.toString();
  };
}

/** An IPv4 address that came over an IPv6 socket is itself. `isIP` because the package also takes 127.1 and 0x7f000001. */
function parse(text: string): Address | undefined {
  return isIP(text) !== 0 ? ipaddr.process(text) : undefined;
}

function isIn(address: Address, ranges: readonly AddressRange[]): boolean {
  return ranges.some(([range, bits]) => range.kind() === address.kind() && address.match(range, bits));
}
