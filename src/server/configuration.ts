import type { JsonObject } from '../http/json-body.js';
import type { Issuers } from '../identity/issuers.js';

/** dev.sigstore.fulcio.v2.Configuration as proto3 JSON, empty fields present as Fulcio emits them. */
export function configurationJson(issuers: Issuers): JsonObject {
  return {
    issuers: issuers.list().map((issuer) => ({
      ...(issuer.wildcard ? { wildcardIssuerUrl: issuer.url } : { issuerUrl: issuer.url }),
      audience: issuer.audience,
      challengeClaim: issuer.challengeClaim,
      spiffeTrustDomain: issuer.spiffeTrustDomain,
      issuerType: issuer.issuerType,
      subjectDomain: issuer.subjectDomain,
      skipEmailVerification: issuer.skipEmailVerification,
    })),
  };
}
