import { AppError } from '../errors.js';
import { afterMs } from './call-queue.js';
import { openAwsKey } from './kms-aws.js';
import { openAzureKey } from './kms-azure.js';
import { openGcpKey } from './kms-gcp.js';
import type { KmsDeps } from './kms-provider.js';
import { type KmsKeyName, parseKmsUri } from './kms-uri.js';
import { openVaultKey } from './kms-vault.js';
import type { RemoteKey } from './remote-key.js';
import { openRemoteSigner, type RemoteSignerOptions, remoteSignerDefaults } from './remote-signer.js';
import type { Signer } from './signer.js';

/** What may be told of a KMS signer beside its URI; only the environment must be. */
export interface KmsSignerOptions extends Partial<RemoteSignerOptions> {
  readonly environment: KmsDeps['environment'];
  readonly expectedKey?: KmsDeps['expectedKey'];
  /** Told which key and version was chosen, once it has signed. */
  readonly onOpen?: (description: string) => void;
}

type Open<N extends KmsKeyName> = (name: N, deps: KmsDeps) => RemoteKey | Promise<RemoteKey>;

const providers: { readonly [P in KmsKeyName['provider']]: Open<Extract<KmsKeyName, { provider: P }>> } = {
  aws: openAwsKey,
  gcp: (name, deps) => openGcpKey(name, deps),
  azure: (name, deps) => openAzureKey(name, deps),
  vault: openVaultKey,
};

/**
 * Opens a key in a KMS by its URI (see parseKmsUri): the version of the key is chosen and stays, it signs once as a test,
 * and from then on it is watched as openRemoteSigner says. The SDK it needs is loaded now. Throws AppError STARTUP that
 * begins with `options.setting`, "--kms-resource" unless told.
 */
export async function openKmsSigner(uri: string, options: KmsSignerOptions): Promise<Signer> {
  const settings = { ...defaults, ...options };
  const key = await openKey(parseKmsUri(uri, settings.setting), settings);
  const signer = await openRemoteSigner(key, settings);
  settings.onOpen(key.describe);
  return signer;
}

const defaults = {
  ...remoteSignerDefaults,
  setting: '--kms-resource',
  clock: Date.now,
  random: Math.random,
  after: afterMs,
  onChange: () => undefined,
  onOpen: () => undefined,
};

async function openKey(name: KmsKeyName, deps: KmsDeps & { readonly setting: string }): Promise<RemoteKey> {
  const open = providers[name.provider] as Open<KmsKeyName>;
  try {
    return withCauses(await open(name, deps));
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new AppError('STARTUP', `${deps.setting}: ${error.detail}`, { cause: error });
  }
}

/** SDKs give errors with an empty message, or with one that only their name or code explains. */
function withCauses(key: RemoteKey): RemoteKey {
  const explained = async <T>(call: () => Promise<T>): Promise<T> => {
    try {
      return await call();
    } catch (cause) {
      throw new Error(explain(cause), { cause });
    }
  };
  return {
    get describe() {
      return key.describe;
    },
    publicKey: (signal) => explained(() => key.publicKey(signal)),
    sign: (data, algorithm, signal) => explained(() => key.sign(data, algorithm, signal)),
    close: () => key.close(),
  };
}

/** One line: the name or code of the error where it says something, and its message. */
function explain(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error);
  const { name, code, message } = error as {
    readonly name?: unknown;
    readonly code?: unknown;
    readonly message?: unknown;
  };
  const label = [code, name].find(
    (item) => typeof item === 'string' && !/^(?:Error|AppError|RestError|TypeError)$/.test(item),
  );
  const text = `${message ?? ''}`.replace(/\s+/g, ' ').trim().slice(0, 1000);
  if (label === undefined || text.includes(`${label}`)) return text || 'no reason was given';
  return text === '' ? `${label}` : `${label}: ${text}`;
}
