import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readIfExists, replaceFile, syncPath } from '../ctlog/durable-file.js';
import { AppError, messageOf } from '../errors.js';
import { encodePem } from '../x509/pem.js';
import type { TrustedAuthority, TrustMaterial } from './material.js';
import { clientTrustConfigJson, signingConfigJson } from './signing-config.js';
import { trustedRootJson } from './trusted-root.js';

/** The files of a trust directory by what they hold. */
export const trustFileNames = {
  trustedRoot: 'trusted_root.json',
  signingConfig: 'signing_config.json',
  clientTrustConfig: 'client-trust-config.json',
  /** The same under the spelling of the other files. */
  clientTrustConfigToo: 'client_trust_config.json',
  caChain: 'ca.pem',
  ctLogKey: 'ctlog.pub.pem',
  tsaChain: 'tsa.pem',
} as const;

/** The mode is set whatever the umask took away: nginx and the clients read these. */
const publicFile = { mode: 0o644, chmod: true, sync: true } as const;

/**
 * Writes the trust files of an instance into `dir` (made if absent, 0755): trusted_root.json, signing_config.json,
 * ca.pem (the CA in use: issuing certificate first, root last), ctlog.pub.pem (the log in use), tsa.pem (the timestamp
 * authority in use, likewise) and client-trust-config.json, also as client_trust_config.json. Each file (0644) is replaced atomically and durably, and only when its content
 * changes; a file that no longer describes the instance is removed.
 * @returns the names of the files that changed.
 * @throws AppError STARTUP, naming the file, when one cannot be written.
 */
export async function writeTrustFiles(dir: string, material: TrustMaterial): Promise<readonly string[]> {
  const changed: string[] = [];
  for (const [name, content] of trustFiles(material)) {
    const path = join(dir, name);
    try {
      await mkdir(dir, { recursive: true, mode: 0o755 });
      if (await putFile(path, content)) changed.push(name);
    } catch (cause) {
      throw new AppError('STARTUP', `the trust file ${path} cannot be written: ${messageOf(cause)}`, { cause });
    }
  }
  return changed;
}

/** File contents by name; undefined for a file that this instance has nothing to say in. Throws as `trustedRootJson`. */
export function trustFiles(material: TrustMaterial): readonly (readonly [string, string | undefined])[] {
  const tsa = material.tsas?.find(({ validFor }) => validFor.end === undefined);
  const log = material.ctLogs[0];
  const clientTrustConfig = toText(clientTrustConfigJson(material));
  return [
    [trustFileNames.trustedRoot, toText(trustedRootJson(material))],
    [trustFileNames.signingConfig, toText(signingConfigJson(material))],
    [trustFileNames.clientTrustConfig, clientTrustConfig],
    [trustFileNames.clientTrustConfigToo, clientTrustConfig],
    [trustFileNames.caChain, chainPem(material.cas[0])],
    [trustFileNames.ctLogKey, log === undefined ? undefined : encodePem('PUBLIC KEY', log.publicKey)],
    [trustFileNames.tsaChain, chainPem(tsa)],
  ];
}

function chainPem(authority: TrustedAuthority | undefined): string | undefined {
  return authority?.chain.map((der) => encodePem('CERTIFICATE', der)).join('');
}

function toText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** A reader sees the old content or the new, never a part; a crash leaves at most a stray temporary file. */
async function putFile(path: string, content: string | undefined): Promise<boolean> {
  const present = await readIfExists(path);
  const wanted = content === undefined ? undefined : Buffer.from(content);
  if (wanted === undefined ? present === undefined : present !== undefined && wanted.equals(present)) return false;
  if (wanted === undefined) await rm(path, { force: true });
  else await replaceFile(path, `${path}.tmp`, wanted, publicFile);
  await syncPath(dirname(path));
  return true;
}
