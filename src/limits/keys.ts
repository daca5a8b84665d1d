import { createHash } from 'node:crypto';
import ipaddr from 'ipaddr.js';
import type { Principal } from '../identity/principal.js';

/** Bits of an IPv6 address that name a subscriber; the rest is the subscriber's own to choose (RFC 6177, RFC 8981). */
const subscriberBits = 64;

/**
 * What a client address is counted under: an IPv4 address by itself, an IPv6 address by its /64, because whoever has one
 * address of a /64 has all of them.
 */
export function addressKey(address: string): string {
  const parsed = ipaddr.process(address);
  if (parsed.kind() === 'ipv4') return parsed.toString();
  const network = parsed.toByteArray().slice(0, subscriberBits / 8);
  return Buffer.from(network).toString('hex');
}

/** What an identity is counted under: issuer and SAN, hashed, since a name may be kilobytes long. */
export function identityKey({ issuer, san }: Principal): string {
  return digest(JSON.stringify([issuer, san.kind, san.value]));
}

/** What an issuer is counted under. */
export function issuerKey({ issuer }: Principal): string {
  return digest(issuer);
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
