import type { IssuerConfig } from '../config/identity-types.js';
import type { KeySource } from './keys.js';

/** One issuer that tokens may come from, as a request sees it. */
export interface Issuer {
  /** `iss` of its tokens; for a meta-issuer the concrete URL, not the pattern. */
  readonly url: string;
  readonly config: IssuerConfig;
  readonly keys: KeySource;
}
