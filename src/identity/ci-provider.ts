import type { CiTemplates } from '../config/identity-types.js';
import type { ExtensionName, ExtensionValues } from '../x509/extensions.js';
import { type Claims, claimText } from './claims.js';
import type { ClaimLookup } from './template.js';

/** SAN and extension values of a CI job, from the provider's templates. Throws AppError CLAIM_MISSING or CLAIM_INVALID. */
export function applyProvider(provider: CiTemplates, claims: Claims): { san: string; extensions: ExtensionValues } {
  const lookup = lookupOf(provider, claims);
  const extensions: Partial<Record<ExtensionName, string>> = {};
  for (const { name, template } of provider.extensions) extensions[name] = template.render(lookup);
  return { san: provider.san.render(lookup), extensions };
}

/** Fixed values win over claims, claims over defaults; a null claim gives way to a default. */
function lookupOf(provider: CiTemplates, claims: Claims): ClaimLookup {
  return (path) => {
    const [name = ''] = path;
    const own = path.length === 1;
    const fixed = own ? provider.fixed.get(name) : undefined;
    if (fixed !== undefined) return fixed;
    const value = claimText(claims, path);
    return value ?? (own ? provider.defaults.get(name) : undefined) ?? value;
  };
}
