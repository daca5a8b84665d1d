import { createPublicKey, type KeyObject } from 'node:crypto';
import type {
  CryptographyClient,
  CryptographyClientOptions,
  JsonWebKey,
  KeyClient,
  KeyVaultKey,
} from '@azure/keyvault-keys';
import { AppError } from '../errors.js';
import { ecdsaDerFromRaw } from './ecdsa-signature.js';
import { chooseVersion, type KeyVersion, type KmsDeps, loadSdk } from './kms-provider.js';
import type { AzureKeyName } from './kms-uri.js';
import type { RemoteKey } from './remote-key.js';
import { digestFor, type KeyKind } from './signature-algorithm.js';

type Sdk = typeof import('@azure/keyvault-keys') & typeof import('@azure/identity');

const algorithms: Readonly<Partial<Record<KeyKind, string>>> = {
  'EC P-256': 'ES256',
  'EC P-384': 'ES384',
  'EC P-521': 'ES512',
  'RSA 2048': 'RS256',
  'RSA 3072': 'RS256',
  'RSA 4096': 'RS256',
};

/** AZURE_ENVIRONMENT in Fulcio's spelling, to the SDK's name of the cloud's login service. */
const clouds: Readonly<Record<string, 'AzureGovernment' | 'AzureChina' | 'AzurePublicCloud'>> = {
  AZUREUSGOVERNMENT: 'AzureGovernment',
  AZUREUSGOVERNMENTCLOUD: 'AzureGovernment',
  AZURECHINACLOUD: 'AzureChina',
  AZURECLOUD: 'AzurePublicCloud',
  AZUREPUBLICCLOUD: 'AzurePublicCloud',
};

const retryOptions = { maxRetries: 1, retryDelayInMs: 200 };

/**
 * A key of Azure Key Vault or Managed HSM, with the credentials that DefaultAzureCredential finds; it needs the data
 * actions keys/read and keys/sign. One version is chosen at the start and named in every later call. `clientOptions` are
 * the SDK's own, for endpoints other than Azure's.
 */
export async function openAzureKey(
  name: AzureKeyName,
  deps: KmsDeps,
  clientOptions: CryptographyClientOptions = {},
): Promise<RemoteKey> {
  const sdk = await loadSdk('azurekms', ['@azure/keyvault-keys', '@azure/identity'], load);
  const credential = new sdk.DefaultAzureCredential(authority(sdk, deps.environment.AZURE_ENVIRONMENT));
  const options = { retryOptions, ...clientOptions };
  const client = new sdk.KeyClient(name.vaultUrl, credential, options);
  let pinned: { readonly version: string; readonly signer: CryptographyClient } | undefined;

  return {
    get describe() {
      return `the Azure key ${name.vaultUrl}keys/${name.name}${pinned === undefined ? '' : `/${pinned.version}`}`;
    },
    async publicKey(abortSignal) {
      if (pinned !== undefined) return (await fetchVersion(client, name.name, pinned.version, abortSignal)).publicKey;
      // A version that the URI names is taken as it is: whether it fits the chain, the chain's own checks say better.
      const expectedKey = name.version === undefined ? deps.expectedKey : undefined;
      const { version, publicKey } = await chooseVersion(versionsOf(client, name, abortSignal), expectedKey);
      const id = `${name.vaultUrl}keys/${name.name}/${version}`;
      pinned = { version, signer: new sdk.CryptographyClient(id, credential, options) };
      return publicKey;
    },
    async sign(data, algorithm, abortSignal) {
      const azureName = algorithms[algorithm.kind];
      if (azureName === undefined) throw new Error(`Azure does not sign with keys of the kind ${algorithm.kind}`);
      if (pinned === undefined) throw new Error('its version is not known yet');
      const { result } = await pinned.signer.sign(azureName, digestFor(algorithm, data), { abortSignal });
      if (!(result instanceof Uint8Array)) throw new Error('the answer holds no signature');
      return azureName.startsWith('ES') ? ecdsaDerFromRaw(result) : result;
    },
    close: () => Promise.resolve(),
  };
}

/** The version that the URI names, or all enabled ones: the latest, then the others, newest first. */
async function* versionsOf(
  client: KeyClient,
  name: AzureKeyName,
  abortSignal: AbortSignal,
): AsyncGenerator<KeyVersion> {
  const first = await fetchVersion(client, name.name, name.version, abortSignal);
  yield first;
  if (name.version !== undefined) return;
  const others = [];
  for await (const properties of client.listPropertiesOfKeyVersions(name.name, { abortSignal })) {
    if (properties.enabled && properties.version !== first.version) others.push(properties);
  }
  const age = (item: { createdOn?: Date }) => item.createdOn?.getTime() ?? 0;
  for (const { version } of others.toSorted((a, b) => age(b) - age(a))) {
    yield await fetchVersion(client, name.name, version, abortSignal);
  }
}

async function fetchVersion(
  client: KeyClient,
  name: string,
  version: string | undefined,
  abortSignal: AbortSignal,
): Promise<KeyVersion> {
  return toKeyVersion(await client.getKey(name, { abortSignal, ...(version === undefined ? {} : { version }) }));
}

async function load(): Promise<Sdk> {
  return { ...(await import('@azure/keyvault-keys')), ...(await import('@azure/identity')) };
}

function authority(sdk: Sdk, cloud: string | undefined): { authorityHost?: string } {
  if (cloud === undefined || cloud === '') return {};
  const found = Object.hasOwn(clouds, cloud) ? clouds[cloud] : undefined;
  if (found === undefined) {
    throw new AppError('STARTUP', `AZURE_ENVIRONMENT is "${cloud}"; expected ${Object.keys(clouds).join(', ')}`);
  }
  return { authorityHost: sdk.AzureAuthorityHosts[found] };
}

function toKeyVersion({ key, properties }: KeyVaultKey): KeyVersion {
  if (!key) throw new Error('the answer holds no key');
  if (!properties.version) throw new Error('the answer names no version');
  return { version: properties.version, publicKey: toKeyObject(key) };
}

/** A key in an HSM has the suffix "-HSM" in its type, which JWK readers do not know. */
function toKeyObject({ kty = '', crv, n, e, x, y }: JsonWebKey): KeyObject {
  const text = (bytes: Uint8Array | undefined) => (bytes === undefined ? {} : Buffer.from(bytes).toString('base64url'));
  const members = Object.entries({ n, e, x, y }).map(([member, bytes]) => [member, text(bytes)]);
  const jwk = { kty: kty.replace(/-HSM$/, ''), ...(crv === undefined ? {} : { crv }), ...Object.fromEntries(members) };
  return createPublicKey({ key: jwk, format: 'jwk' });
}
