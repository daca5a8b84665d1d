import { X509Certificate } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import { asBoolean, asMap, asText, issuerFields, readFields } from './identity-fields.js';
import { parseJsonPath } from './identity-json-path.js';
import { joinRules, parseRules } from './identity-policy.js';
import { configError, type LocatedEntry, where } from './identity-tree.js';
import { type CiProvider, type IssuerConfig, type IssuerTypeName, issuerTypeNames } from './identity-types.js';
import { checkIssuerUrl, checkPattern, checkSubjectDomain } from './identity-urls.js';
import { didYouMean } from './suggestion.js';

export interface IssuerContext {
  readonly ciProviders: ReadonlyMap<string, CiProvider>;
  readonly warnings: string[];
}

type FieldName = keyof typeof issuerFields;
type Fields = ReadonlyMap<FieldName, LocatedEntry>;

/** Settings that mean something for some types only; elsewhere they are ignored, as in Fulcio, with a warning. */
const onlyFor: Partial<Record<FieldName, readonly IssuerTypeName[]>> = {
  ciProvider: ['ci-provider'],
  spiffeTrustDomain: ['spiffe'],
  subjectDomain: ['uri', 'username'],
  skipEmailVerification: ['email'],
};

/** One entry of `oidc-issuers` or (`wildcard`) `meta-issuers`. Throws AppError STARTUP. */
export function parseIssuer(entry: LocatedEntry, wildcard: boolean, context: IssuerContext): IssuerConfig {
  const fields = readFields(asMap(entry.value), issuerFields);
  const url = issuerUrl(entry, fields, wildcard, context);
  const type = issuerType(entry, fields);
  warnIgnored(fields, type, context);
  if (wildcard && type === 'spiffe') {
    throw configError(
      entry,
      'type spiffe is not possible for a meta-issuer: many issuers would speak for one trust domain',
    );
  }
  const provider = type === 'ci-provider' ? ciProvider(entry, fields, context) : undefined;
  return Object.freeze({
    url,
    wildcard,
    clientId: clientId(entry, fields),
    type,
    ciProvider: provider,
    issuerClaim: issuerClaim(fields, type),
    spiffeTrustDomain: type === 'spiffe' ? trustDomain(entry, fields) : '',
    subjectDomain:
      type === 'uri' || type === 'username' ? checkSubjectDomain(entry, fields.get('subjectDomain'), type, url) : '',
    challengeClaim: asText(fields.get('challengeClaim')),
    skipEmailVerification: asBoolean(fields.get('skipEmailVerification')),
    caCert: caCert(fields),
    jwksFile: jwksFile(fields, wildcard),
    allowPrivateNetwork: asBoolean(fields.get('allowPrivateNetwork')),
    environment: asText(fields.get('environment')),
    contact: asText(fields.get('contact')),
    description: asText(fields.get('description')),
    policy: joinRules(provider?.policy, parseRules(fields), entry),
  });
}

function issuerUrl(entry: LocatedEntry, fields: Fields, wildcard: boolean, context: IssuerContext): string {
  const given = fields.get('issuerUrl');
  const text = asText(given);
  if (given !== undefined && text !== '' && text !== entry.key) {
    throw configError(given, `is "${text}", but the issuer stands under the key "${entry.key}"; expected the same URL`);
  }
  if (wildcard) checkPattern(entry, context.warnings);
  else checkIssuerUrl(entry, context.warnings);
  return entry.key;
}

function issuerType(entry: LocatedEntry, fields: Fields): IssuerTypeName {
  const text = asText(fields.get('type'));
  const type = issuerTypeNames.find((name) => name === text);
  if (type !== undefined) return type;
  const given = fields.get('type');
  if (given === undefined || text === '') {
    throw configError(given ?? entry, `has no type; expected one of ${issuerTypeNames.join(', ')}`);
  }
  const suggestion = didYouMean(text, issuerTypeNames) || `; expected one of ${issuerTypeNames.join(', ')}`;
  throw configError(given, `"${text}" is not an issuer type${suggestion}`);
}

function warnIgnored(fields: Fields, type: IssuerTypeName, context: IssuerContext): void {
  for (const [name, entry] of fields) {
    const types = onlyFor[name];
    if (types !== undefined && !types.includes(type) && asText(entry) !== '' && asText(entry) !== 'false') {
      context.warnings.push(
        `${where(entry)}is ignored: it is for type ${types.join(' and ')}, this issuer has ${type}`,
      );
    }
  }
}

function clientId(entry: LocatedEntry, fields: Fields): string {
  const text = asText(fields.get('clientId'));
  if (text === '')
    throw configError(fields.get('clientId') ?? entry, 'has no client-id; expected the audience of its tokens');
  return text;
}

function ciProvider(entry: LocatedEntry, fields: Fields, context: IssuerContext): CiProvider | undefined {
  const name = asText(fields.get('ciProvider'));
  const provider = context.ciProviders.get(name);
  if (provider === undefined) {
    const at = where(fields.get('ciProvider') ?? entry);
    const found = name === '' ? 'has no ci-provider' : `"${name}" has no entry under ci-issuer-metadata`;
    const suggestion = name === '' ? '' : didYouMean(name, [...context.ciProviders.keys()]);
    context.warnings.push(`${at}${found}, so its tokens are refused${suggestion}`);
  }
  return provider;
}

function issuerClaim(fields: Fields, type: IssuerTypeName): readonly string[] | undefined {
  const entry = fields.get('issuerClaim');
  const text = asText(entry);
  if (entry === undefined || text === '') return undefined;
  if (type !== 'email') throw configError(entry, `is possible for type email only; this issuer has ${type}`);
  const path = parseJsonPath(text);
  if (path === undefined) {
    throw configError(entry, `${JSON.stringify(text)} is not supported; expected a JSON path such as $.a.b or $['a']`);
  }
  return path;
}

function trustDomain(entry: LocatedEntry, fields: Fields): string {
  const given = fields.get('spiffeTrustDomain');
  const text = asText(given);
  // SPIFFE-ID Section 2.1: lower-case letters, digits, dots, dashes and underscores, at most 255 bytes.
  if (/^[a-z0-9._-]{1,255}$/.test(text)) return text;
  throw configError(
    given ?? entry,
    text === '' ? 'has no spiffe-trust-domain' : `"${text}" is not a trust domain; expected a name such as example.com`,
  );
}

function caCert(fields: Fields): string | undefined {
  const entry = fields.get('caCert');
  const text = asText(entry);
  if (entry === undefined || text === '') return undefined;
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw configError(entry, 'holds no certificate; expected PEM (BEGIN CERTIFICATE)');
  for (const [i, block] of blocks.entries()) {
    try {
      new X509Certificate(block);
    } catch (error) {
      throw configError(entry, `certificate ${i + 1} of ${blocks.length} cannot be parsed; expected PEM`, error);
    }
  }
  return `${blocks.join('\n')}\n`;
}

function jwksFile(fields: Fields, wildcard: boolean): string | undefined {
  const entry = fields.get('jwksFile');
  const text = asText(entry);
  if (entry === undefined || text === '') return undefined;
  if (wildcard)
    throw configError(entry, 'is not possible for a meta-issuer: one set of keys would speak for every issuer');
  return resolve(dirname(entry.file), text);
}
