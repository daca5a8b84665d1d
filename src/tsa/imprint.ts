/** The digests a timestamp may be asked for; SHA-1 and everything older is refused. */
export const imprintHashes = [
  { name: 'sha256', oid: '2.16.840.1.101.3.4.2.1', bytes: 32 },
  { name: 'sha384', oid: '2.16.840.1.101.3.4.2.2', bytes: 48 },
  { name: 'sha512', oid: '2.16.840.1.101.3.4.2.3', bytes: 64 },
] as const;

export type ImprintHash = (typeof imprintHashes)[number];

/** A timestamp request, whichever way it came: RFC 3161 Section 2.4.1 without what is refused anyway. */
export interface TimestampRequest {
  readonly hash: ImprintHash;
  /** Whether the request had NULL after the algorithm's name or nothing: the token's imprint must be the same. */
  readonly nullParameters: boolean;
  /** As long as `hash` says. */
  readonly digest: Uint8Array;
  /** Dotted OID of the policy the client insists on. */
  readonly policy: string | undefined;
  /** Content octets of the INTEGER, minimal, to be sent back as they are. */
  readonly nonce: Uint8Array | undefined;
  /** Whether the token is to hold the authority's certificate. */
  readonly certReq: boolean;
}

/** The names for messages: "sha256, sha384, sha512". */
export const imprintHashNames: string = imprintHashes.map(({ name }) => name).join(', ');
