import { createPublicKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { chooseVersion, type KeyVersion, type KmsDeps } from './kms-provider.js';
import type { VaultKeyName } from './kms-uri.js';
import { vaultHttp } from './kms-vault-http.js';
import { vaultSettings } from './kms-vault-settings.js';
import type { RemoteKey } from './remote-key.js';
import { digestFor, type SignatureAlgorithm } from './signature-algorithm.js';

const keyAnswer = z.object({
  type: z.string(),
  latest_version: z.int().positive(),
  keys: z.record(z.string().regex(/^[1-9]\d{0,8}$/), z.object({ public_key: z.string() })),
});

const signAnswer = z.object({ signature: z.string() });

/** Vault's names of the digests, at the end of a path. */
const hashes = { sha256: 'sha2-256', sha384: 'sha2-384', sha512: 'sha2-512' } as const;

/**
 * A key of the transit engine of HashiCorp Vault or OpenBao, over their HTTP API; where and by which token, the
 * environment says (see vaultSettings). Its policy needs read on `MOUNT/keys/NAME` and update on `MOUNT/sign/NAME/*`. The
 * version is chosen at the start and named in every later call: a rotation of the key changes nothing.
 */
export function openVaultKey(name: VaultKeyName, deps: KmsDeps): RemoteKey {
  const settings = vaultSettings(deps.environment);
  const vault = vaultHttp(settings, deps.maxConcurrent);
  let pinned: string | undefined;

  async function* versions(signal: AbortSignal): AsyncGenerator<KeyVersion> {
    const answer = keyAnswer.safeParse(await vault.call(`${settings.mount}/keys/${name.name}`, signal));
    if (!answer.success)
      throw new Error("it is not a key that signs, or Vault's answer is not that of its transit engine");
    const { type, keys } = answer.data;
    const newestFirst = Object.entries(keys).toSorted(([a], [b]) => Number(b) - Number(a));
    for (const [version, key] of newestFirst) yield { version, publicKey: toKeyObject(type, key.public_key) };
  }

  return {
    get describe() {
      const version = pinned === undefined ? '' : `, version ${pinned}`;
      return `the Vault key ${settings.mount}/keys/${name.name}${version}, at ${settings.address}`;
    },
    async publicKey(signal) {
      if (pinned === undefined) {
        const chosen = await chooseVersion(versions(signal), deps.expectedKey);
        pinned = chosen.version;
        return chosen.publicKey;
      }
      for await (const { version, publicKey } of versions(signal)) if (version === pinned) return publicKey;
      throw new Error(`version ${pinned} of it is gone`);
    },
    async sign(data, algorithm, signal) {
      const { path, input } = signRequest(data, algorithm);
      const body = { ...input, key_version: Number(pinned) };
      const answer = signAnswer.safeParse(await vault.call(`${settings.mount}/sign/${name.name}${path}`, signal, body));
      return readSignature(answer.data?.signature, pinned);
    },
    async close() {
      vault.close();
    },
  };
}

/** ECDSA as DER by `marshaling_algorithm`, RSA as PKCS#1 v1.5 by `signature_algorithm`; each is ignored by the other. */
function signRequest(data: Uint8Array, algorithm: SignatureAlgorithm) {
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
  if (algorithm.hash === null) return { path: '', input: { input: base64(data), prehashed: false } };
  return {
    path: `/${hashes[algorithm.hash]}`,
    input: {
      input: base64(digestFor(algorithm, data)),
      prehashed: true,
      marshaling_algorithm: 'asn1',
      signature_algorithm: 'pkcs1v15',
    },
  };
}

/** `vault:v2:base64`; OpenBao says vault too. */
function readSignature(text: string | undefined, version: string | undefined): Uint8Array {
  const [, found, base64] = /^vault:v(\d+):([A-Za-z0-9+/]+={0,2})$/.exec(text ?? '') ?? [];
  if (base64 === undefined) throw new Error('the signature is not of the form vault:vN:BASE64');
  if (found !== version) throw new Error(`version ${found} of the key signed; expected version ${version}`);
  return Buffer.from(base64, 'base64');
}

/** An Ed25519 key comes as its 32 bytes in base64, the others as PEM. */
function toKeyObject(type: string, text: string): KeyObject {
  if (type !== 'ed25519') return createPublicKey(text);
  const x = Buffer.from(text, 'base64').toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
}
