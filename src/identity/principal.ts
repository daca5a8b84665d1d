import type { ExtensionValues } from '../x509/extensions.js';
import type { San } from '../x509/san.js';

/** Who a verified token speaks for, and what the certificate will say about them. */
export interface Principal {
  /** `iss` of the verified token. */
  readonly issuer: string;
  /** `sub` of the verified token ('' if the token has none and its type does not need one). */
  readonly subject: string;
  readonly san: San;
  readonly extensions: ExtensionValues;
  /** What the client must have signed to prove possession of its key: UTF-8 of `value`, taken from claim `claim`. */
  readonly challenge: { readonly claim: string; readonly value: string };
  /** Where the issuer has a challenge-claim of its own: a proof over this value is as good as one over `challenge`. */
  readonly alternativeChallenge?: { readonly claim: string; readonly value: string };
}
