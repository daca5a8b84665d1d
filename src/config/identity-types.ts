import type { Template } from '../identity/template.js';
import type { RuleSet } from '../policy/rules.js';
import type { ExtensionName } from '../x509/extensions.js';

/** Every issuer type of Fulcio; the four before the last are older names with tables of their own. */
export const issuerTypeNames = [
  'email',
  'ci-provider',
  'kubernetes',
  'spiffe',
  'uri',
  'username',
  'github-workflow',
  'gitlab-pipeline',
  'buildkite-job',
  'codefresh-workflow',
  'chainguard-identity',
] as const;

export type IssuerTypeName = (typeof issuerTypeNames)[number];

/** One entry of `oidc-issuers` or `meta-issuers`, validated. */
export interface IssuerConfig {
  /** The issuer URL exactly as tokens carry it; for a meta-issuer the pattern with its stars. */
  readonly url: string;
  readonly wildcard: boolean;
  /** The audience its tokens must have. */
  readonly clientId: string;
  readonly type: IssuerTypeName;
  /** For type ci-provider: the entry of `ciProviders`; undefined when the configuration has no such entry. */
  readonly ciProvider: CiProvider | undefined;
  /** Path of the claim that takes the place of `iss` in the certificate; email only. */
  readonly issuerClaim: readonly string[] | undefined;
  readonly spiffeTrustDomain: string;
  readonly subjectDomain: string;
  /** '' unless the operator set it. */
  readonly challengeClaim: string;
  readonly skipEmailVerification: boolean;
  /** PEM, an extra TLS root for this issuer. */
  readonly caCert: string | undefined;
  /** Absolute path of a JWKS; with it the issuer is never asked over the network. */
  readonly jwksFile: string | undefined;
  /** A wildcard issuer may resolve to private and loopback addresses. */
  readonly allowPrivateNetwork: boolean;
  readonly environment: string;
  readonly contact: string;
  readonly description: string;
  /** Its own rules after those of its provider template. */
  readonly policy: RuleSet;
}

/** One entry of `ci-issuer-metadata`. */
export interface CiProvider extends CiTemplates {
  readonly policy: RuleSet;
}

/** What makes a SAN and extensions of a CI job's claims, its templates compiled. */
export interface CiTemplates {
  readonly name: string;
  /** Used where the token has no claim of that name. */
  readonly defaults: ReadonlyMap<string, string>;
  /** Used whatever the token says (`fixed-template-values`). */
  readonly fixed: ReadonlyMap<string, string>;
  readonly extensions: readonly { readonly name: ExtensionName; readonly template: Template }[];
  readonly san: Template;
}
