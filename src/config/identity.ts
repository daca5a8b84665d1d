import { asMap, readFields, topFields } from './identity-fields.js';
import { parseIssuer } from './identity-issuer.js';
import { parseProvider } from './identity-provider.js';
import { type LocatedEntry, parseConfigTree, where } from './identity-tree.js';
import type { CiProvider, IssuerConfig } from './identity-types.js';

/** A validated identity configuration; whom the server trusts to say who somebody is. */
export interface IdentityConfig {
  readonly issuers: readonly IssuerConfig[];
  readonly metaIssuers: readonly IssuerConfig[];
  readonly ciProviders: ReadonlyMap<string, CiProvider>;
  /** What loads but probably is not meant, each with file and line. */
  readonly warnings: readonly string[];
}

/**
 * Parses and validates an identity configuration in Fulcio's format: YAML with kebab-case keys or JSON with PascalCase
 * keys. `fileName` goes into messages, and `jwks-file` paths are relative to its directory.
 *
 * Reads no other file and no network. Throws AppError STARTUP with `FILE:line: path: what was found, what was expected`.
 */
export function parseIdentityConfig(text: string, fileName: string): IdentityConfig {
  const root = parseConfigTree(text, fileName);
  const top = readFields(asMap(root), topFields);
  const warnings: string[] = [];
  const ciProviders = new Map<string, CiProvider>();
  for (const entry of entriesOf(top.get('ciIssuerMetadata'))) {
    ciProviders.set(entry.key, parseProvider(entry, warnings));
  }
  const context = { ciProviders, warnings };
  const issuers = entriesOf(top.get('oidcIssuers')).map((entry) => parseIssuer(entry, false, context));
  const metaIssuers = entriesOf(top.get('metaIssuers')).map((entry) => parseIssuer(entry, true, context));
  if (issuers.length + metaIssuers.length === 0) {
    warnings.push(`${where(root)}names no issuer under oidc-issuers or meta-issuers, so every token is refused`);
  }
  warnUnused(entriesOf(top.get('ciIssuerMetadata')), [...issuers, ...metaIssuers], warnings);
  return Object.freeze({ issuers, metaIssuers, ciProviders, warnings });
}

function entriesOf(entry: LocatedEntry | undefined): readonly LocatedEntry[] {
  return entry === undefined ? [] : asMap(entry.value).entries;
}

function warnUnused(entries: readonly LocatedEntry[], issuers: readonly IssuerConfig[], warnings: string[]): void {
  const used = new Set(issuers.map((issuer) => issuer.ciProvider?.name));
  for (const entry of entries) {
    if (!used.has(entry.key)) warnings.push(`${where(entry)}no issuer has "ci-provider: ${entry.key}"`);
  }
}
