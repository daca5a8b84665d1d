/**
 * The one subject alternative name of a leaf (RFC 5280 Section 4.2.1.6): rfc822Name, URI, or an otherName of type
 * 1.3.6.1.4.1.57264.1.7 holding a UTF8String (Sigstore's username SAN).
 */
export type San =
  | { readonly kind: 'email'; readonly value: string }
  | { readonly kind: 'uri'; readonly value: string }
  | { readonly kind: 'username'; readonly value: string };
