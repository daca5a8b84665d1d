import { configError, type Located, type LocatedEntry, type LocatedMap, type LocatedScalar } from './identity-tree.js';
import { didYouMean } from './suggestion.js';

/** The two spellings of a key: kebab-case as in Fulcio's YAML, PascalCase as in its JSON. Either is read from either. */
export interface FieldNames {
  readonly yaml: string;
  readonly json: string;
}

const field = (yaml: string, json: string): FieldNames => ({ yaml, json });

export const topFields = {
  oidcIssuers: field('oidc-issuers', 'OIDCIssuers'),
  metaIssuers: field('meta-issuers', 'MetaIssuers'),
  ciIssuerMetadata: field('ci-issuer-metadata', 'CIIssuerMetadata'),
  /** Where the public instance's file keeps its anchors; the content is nobody's business. */
  define: field('define', 'Define'),
} as const;

/** The policy of an issuer or of a provider template; see docs/policy.md. */
const policyFields = {
  allow: field('allow', 'Allow'),
  deny: field('deny', 'Deny'),
  policyDefault: field('policy-default', 'PolicyDefault'),
} as const;

export const issuerFields = {
  issuerUrl: field('issuer-url', 'IssuerURL'),
  clientId: field('client-id', 'ClientID'),
  type: field('type', 'Type'),
  ciProvider: field('ci-provider', 'CIProvider'),
  issuerClaim: field('issuer-claim', 'IssuerClaim'),
  spiffeTrustDomain: field('spiffe-trust-domain', 'SPIFFETrustDomain'),
  subjectDomain: field('subject-domain', 'SubjectDomain'),
  challengeClaim: field('challenge-claim', 'ChallengeClaim'),
  skipEmailVerification: field('skip-email-verification', 'SkipEmailVerification'),
  caCert: field('ca-cert', 'CACert'),
  jwksFile: field('jwks-file', 'JWKSFile'),
  allowPrivateNetwork: field('allow-private-network', 'AllowPrivateNetwork'),
  environment: field('environment', 'Environment'),
  contact: field('contact', 'Contact'),
  description: field('description', 'Description'),
  ...policyFields,
} as const;

export const ruleFields = {
  name: field('name', 'Name'),
  claims: field('claims', 'Claims'),
  san: field('san', 'SAN'),
  sanType: field('san-type', 'SANType'),
  key: field('key', 'Key'),
  cel: field('cel', 'CEL'),
  message: field('message', 'Message'),
} as const;

export const conditionFields = {
  equals: field('equals', 'Equals'),
  glob: field('glob', 'Glob'),
  regex: field('regex', 'Regex'),
  any: field('any', 'Any'),
  ignoreCase: field('ignore-case', 'IgnoreCase'),
  asText: field('as-text', 'AsText'),
  missing: field('missing', 'Missing'),
} as const;

export const providerFields = {
  defaults: field('default-template-values', 'DefaultTemplateValues'),
  fixed: field('fixed-template-values', 'FixedTemplateValues'),
  extensions: field('extension-templates', 'ExtensionTemplates'),
  san: field('subject-alternative-name-template', 'SubjectAlternativeNameTemplate'),
  ...policyFields,
} as const;

/** The entries of a mapping by field name. Throws AppError STARTUP for an unknown key, with a suggestion. */
export function readFields<Name extends string>(
  map: LocatedMap,
  fields: Readonly<Record<Name, FieldNames>>,
): ReadonlyMap<Name, LocatedEntry> {
  const found = new Map<Name, LocatedEntry>();
  const names = Object.keys(fields) as Name[];
  for (const entry of map.entries) {
    const name = names.find((known) => fields[known].yaml === entry.key || fields[known].json === entry.key);
    if (name === undefined) {
      // Suggested in the spelling that the key's own first letter points to.
      const style = /^[A-Z]/.test(entry.key) ? 'json' : 'yaml';
      const known = names.map((each) => fields[each][style]);
      throw configError(entry, `is not a known key${didYouMean(entry.key, known)}`);
    }
    const first = found.get(name);
    if (first !== undefined) throw configError(entry, `is the same setting as "${first.key}" on line ${first.line}`);
    found.set(name, entry);
  }
  return found;
}

/** A mapping; null counts as an empty one. Throws AppError STARTUP. */
export function asMap(node: Located): LocatedMap {
  if (node.kind === 'map') return node;
  if (node.kind === 'scalar' && node.value === null) return { ...node, kind: 'map', entries: [] };
  throw configError(node, `is ${kindOf(node)}; expected a mapping`);
}

/** Any scalar as text; '' for an absent field or null. Throws AppError STARTUP. */
export function asText(entry: LocatedEntry | undefined): string {
  if (entry === undefined) return '';
  return asScalar(entry.value, 'text').text;
}

/** true or false; false for an absent field or null. Throws AppError STARTUP. */
export function asBoolean(entry: LocatedEntry | undefined): boolean {
  if (entry === undefined) return false;
  const scalar = asScalar(entry.value, 'true or false');
  if (scalar.value === true || scalar.value === false) return scalar.value;
  if (scalar.value === null) return false;
  throw configError(scalar, `is ${JSON.stringify(scalar.text)}; expected true or false`);
}

function asScalar(node: Located, expected: string): LocatedScalar {
  if (node.kind === 'scalar') return node;
  throw configError(node, `is ${kindOf(node)}; expected ${expected}`);
}

/** What a node is, for a message. */
export function kindOf(node: Located): string {
  if (node.kind !== 'scalar') return `a ${node.kind === 'map' ? 'mapping' : 'list'}`;
  return JSON.stringify(node.text.slice(0, 80));
}
