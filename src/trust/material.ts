/**
 * What the trust files are made from: the certificate authorities, logs and timestamp authorities of one instance.
 * In every list the first entry is the one in use now; the others are former (or coming) ones whose certificates and
 * timestamps must stay verifiable.
 */

/** Both ends belong to the period; without `end` it is open. */
export interface TrustPeriod {
  readonly start: Date;
  readonly end?: Date;
}

/** A certificate authority or an RFC 3161 timestamp authority. */
export interface TrustedAuthority {
  /** DER, issuing certificate first, root last. */
  readonly chain: readonly Uint8Array[];
  /** Base URL of a CA; the full URL of a timestamp authority's endpoint. */
  readonly uri: string;
  /** When signatures under the whole chain are to be believed; a CA's `start` is the latest notBefore of its chain. */
  readonly validFor: TrustPeriod;
  /** Who runs it, as a URI without a scheme ("ca.example.com"). */
  readonly operator: string;
}

/** A certificate transparency log or a Rekor. */
export interface TrustedLog {
  readonly baseUrl: string;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** Must contain the time of every timestamp the key signed. */
  readonly validFor: TrustPeriod;
  readonly operator: string;
}

export interface TrustedRekor extends TrustedLog {
  /** 1 for Rekor, 2 for rekor-tiles. */
  readonly majorApiVersion: number;
  /** The name in its checkpoints, of which a Rekor 2 makes its log id (c2sp.org/signed-note). */
  readonly origin?: string;
}

/** An OpenID Connect provider that signing clients may send their user to. */
export interface OidcService {
  readonly url: string;
  readonly validFor: TrustPeriod;
  readonly operator: string;
}

export interface TrustMaterial {
  readonly cas: readonly TrustedAuthority[];
  readonly ctLogs: readonly TrustedLog[];
  readonly tsas?: readonly TrustedAuthority[];
  readonly rekors?: readonly TrustedRekor[];
  readonly oidcProviders?: readonly OidcService[];
}

/** The host of a URL, port left out: the default for `operator`. */
export function operatorOf(url: string): string {
  return new URL(url).hostname;
}
