import { AppError } from '../errors.js';

/** A key of AWS KMS. */
export interface AwsKeyName {
  readonly provider: 'aws';
  /** Key id, key ARN, `alias/…` or alias ARN, as the KMS takes it. */
  readonly keyId: string;
  /** host or host:port of a KMS that is not the region's own, spoken to over TLS. */
  readonly endpoint?: string;
  /** Of an ARN. */
  readonly region?: string;
}

/** A key of Google Cloud KMS. */
export interface GcpKeyName {
  readonly provider: 'gcp';
  /** `projects/…/cryptoKeys/…`. */
  readonly key: string;
  readonly version?: string;
}

/** A key of Azure Key Vault or Managed HSM. */
export interface AzureKeyName {
  readonly provider: 'azure';
  /** `https://host/`. */
  readonly vaultUrl: string;
  readonly name: string;
  readonly version?: string;
}

/** A key of the transit engine of Vault or OpenBao; where that is, the environment says. */
export interface VaultKeyName {
  readonly provider: 'vault';
  readonly name: string;
}

export type KmsKeyName = AwsKeyName | GcpKeyName | AzureKeyName | VaultKeyName;

interface Scheme {
  readonly expected: string;
  /** Reads what follows `scheme://`; undefined when it is of another form. */
  parse(rest: string): KmsKeyName | undefined;
}

const uuid = '(?:mrk-[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})';
const alias = 'alias/[A-Za-z0-9/_-]{1,250}';
const arn = 'arn:aws(?:-[a-z]{1,8}){0,3}:kms:([a-z0-9-]{1,32}):\\d{12}:';
const awsKey = new RegExp(`^([^/]*)/(?:${uuid}|${alias}|${arn}(?:key/${uuid}|${alias}))$`);
const gcpName = '[A-Za-z0-9_-]{1,63}';
const gcpKey = new RegExp(
  `^(projects/[a-z0-9.:-]{1,100}/locations/[a-z0-9-]{1,63}/keyRings/${gcpName}/cryptoKeys/${gcpName})` +
    '(?:/(?:cryptoKeyVersions|versions)/([1-9]\\d{0,9}))?$',
);
const azureKey = /^([^/]+)\/([0-9A-Za-z-]{1,127})(?:\/([0-9a-z]{0,64}))?$/;
const vaultKey = /^\w(?:[\w.-]{0,254}\w)?$/;
const hostPattern = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::([1-9]\d{0,4}))?$/i;

const vault: Scheme = {
  expected: 'hashivault://KEY (or openbao://KEY), the name of a transit key without the path of its engine',
  parse: (rest) => (vaultKey.test(rest) ? { provider: 'vault', name: rest } : undefined),
};

const schemes: Readonly<Record<string, Scheme>> = {
  awskms: {
    expected:
      'awskms:///KEY or awskms://HOST:PORT/KEY, where KEY is a key id, a key ARN, alias/NAME or an alias ARN ' +
      '(without a host there are three slashes)',
    parse: parseAws,
  },
  gcpkms: {
    expected:
      'gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K, with or without /cryptoKeyVersions/N at the end',
    parse: parseGcp,
  },
  azurekms: {
    expected:
      'azurekms://HOST/KEY or azurekms://HOST/KEY/VERSION, where HOST is the whole name of the vault, ' +
      'such as example.vault.azure.net',
    parse: parseAzure,
  },
  hashivault: vault,
  openbao: vault,
};

/** Other tools' names for the same services. */
const otherNames: Readonly<Record<string, string>> = {
  'aws-kms': 'awskms',
  'gcp-kms': 'gcpkms',
  'azure-kms': 'azurekms',
  'azure-kv': 'azurekms',
  vault: 'hashivault',
};

const schemeList = Object.keys(schemes)
  .map((name) => `${name}://`)
  .join(', ');

/**
 * Parses a KMS URI as Fulcio and cosign write them. Throws AppError STARTUP that begins with `setting`, the name of what
 * was set, and says which forms there are; a part that looks like a credential is not repeated.
 */
export function parseKmsUri(uri: string, setting: string): KmsKeyName {
  const refuse = (expected: string) => new AppError('STARTUP', `${setting} is ${shown(uri)}; expected ${expected}`);
  const [, name, rest] = /^([a-z0-9-]{1,20}):\/\/([\x21-\x7e]{1,1000})$/.exec(uri) ?? [];
  if (name === undefined || rest === undefined) throw refuse(`a KMS key: ${schemeList}`);
  const scheme = Object.hasOwn(schemes, name) ? schemes[name] : undefined;
  if (scheme === undefined) {
    const meant = Object.hasOwn(otherNames, name) ? otherNames[name] : undefined;
    throw refuse(meant === undefined ? `a KMS key: ${schemeList}` : `${schemes[meant]?.expected}`);
  }
  const parsed = scheme.parse(rest);
  if (parsed === undefined) throw refuse(scheme.expected);
  return parsed;
}

function parseAws(rest: string): AwsKeyName | undefined {
  const match = awsKey.exec(rest);
  const [, endpoint = '', region] = match ?? [];
  if (match === null || (endpoint !== '' && !isHost(endpoint))) return undefined;
  return {
    provider: 'aws',
    keyId: rest.slice(endpoint.length + 1),
    ...(endpoint === '' ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
  };
}

function parseGcp(rest: string): GcpKeyName | undefined {
  const [, key, version] = gcpKey.exec(rest) ?? [];
  if (key === undefined) return undefined;
  return { provider: 'gcp', key, ...(version === undefined ? {} : { version }) };
}

function parseAzure(rest: string): AzureKeyName | undefined {
  const [, host = '', name, version = ''] = azureKey.exec(rest) ?? [];
  const isWhole = host.includes('.') || /^localhost(:|$)/i.test(host);
  if (name === undefined || !isHost(host) || !isWhole) return undefined;
  return { provider: 'azure', vaultUrl: `https://${host}/`, name, ...(version === '' ? {} : { version }) };
}

function isHost(text: string): boolean {
  const match = hostPattern.exec(text);
  return match !== null && text.length <= 253 && Number(match[1] ?? 1) <= 65535;
}

function shown(uri: string): string {
  if (uri === '') return 'empty';
  if (uri.includes('@')) return 'a text with "@" in it, which is not shown since it may hold a password';
  return /^[\x20-\x7e]{1,300}$/.test(uri) ? `"${uri}"` : 'a text that is too long or not plain ASCII';
}
