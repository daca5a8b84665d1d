import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { CertificateAuthority, TransparencyLogInstance } from '@sigstore/protobuf-specs';
import { SigningConfig, TrustedRoot } from '@sigstore/protobuf-specs';
import { readIfExists } from '../ctlog/durable-file.js';
import { AppError, messageOf } from '../errors.js';
import { encodePem } from '../x509/pem.js';
import { signingConfigMediaType } from './signing-config.js';
import { trustFileNames } from './write.js';

/** A file that clients get by way of the repository. */
export interface TufTarget {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** What clients from before trusted_root.json go by: the `custom` field of the target. */
  readonly sigstore?: { readonly usage: string; readonly status: 'Active' | 'Expired'; readonly uri: string };
}

/** Under these names clients ask for the two files. */
export const trustedRootTarget = 'trusted_root.json';
export const signingConfigTarget = 'signing_config.v0.2.json';

/**
 * The targets made from a directory of trust files (as `serve` and `mayfly trust export` write it): trusted_root.json and
 * the signing configuration byte for byte, and from the trusted root the single certificates and keys that cosign 2 looks
 * for when it does not use a trusted root.
 * @throws AppError STARTUP when a file is missing or not what its name says.
 */
export async function readTufTargets(trustDir: string, now: Date): Promise<readonly TufTarget[]> {
  const trustedRoot = await readTrustFile(join(trustDir, trustFileNames.trustedRoot));
  const signingConfig = await readTrustFile(join(trustDir, trustFileNames.signingConfig));
  const root = parse(trustedRoot, () => TrustedRoot.fromJSON(trustedRoot.json));
  const config = parse(signingConfig, () => SigningConfig.fromJSON(signingConfig.json));
  if (root.certificateAuthorities.length === 0) {
    throw new AppError('STARTUP', `${trustedRoot.path} names no certificate authority; expected at least one`);
  }
  if (config.mediaType !== signingConfigMediaType) {
    throw new AppError(
      'STARTUP',
      `${signingConfig.path} is of the type "${config.mediaType}"; expected ${signingConfigMediaType}`,
    );
  }
  return [
    { name: trustedRootTarget, bytes: trustedRoot.bytes },
    { name: signingConfigTarget, bytes: signingConfig.bytes },
    ...parse(trustedRoot, () => legacyTargets(root, now)),
  ];
}

/**
 * Names count from the oldest entry on: an entry never leaves a trusted root, so a name never changes its content.
 * Of the timestamp authorities only the newest is here: cosign 2 refuses to see two.
 */
function legacyTargets(root: TrustedRoot, now: Date): readonly TufTarget[] {
  const { certificateAuthorities: cas, ctlogs, tlogs, timestampAuthorities: tsas } = root;
  return [
    ...cas.map(caTarget),
    ...ctlogs.map((log, index) => logTarget(log, 'CTFE', numbered('ctfe', index), now)),
    ...tlogs.map((log, index) => logTarget(log, 'Rekor', numbered('rekor', index), now)),
    ...tsaTargets(tsas.filter((tsa) => statusOf(tsa.validFor?.end, now) === 'Active').at(-1)),
  ];
}

function numbered(name: string, index: number): string {
  return index === 0 ? `${name}.pub` : `${name}_${index + 1}.pub`;
}

/**
 * A CA that has an end issues no longer. Its end is minutes away when it is retired; were it waited for, the targets would
 * change once more then, and want another ceremony.
 */
function caTarget(ca: CertificateAuthority, index: number): TufTarget {
  const status = ca.validFor?.end === undefined ? 'Active' : 'Expired';
  const sigstore = { usage: 'Fulcio', status, uri: ca.uri } as const;
  return { name: `fulcio_v${index + 1}.crt.pem`, bytes: Buffer.from(chainOf(ca).join('')), sigstore };
}

function logTarget(log: TransparencyLogInstance, usage: string, name: string, now: Date): TufTarget {
  const key = log.publicKey?.rawBytes;
  if (key === undefined) throw new AppError('STARTUP', `the log ${log.baseUrl} has no public key`);
  const status = statusOf(log.publicKey?.validFor?.end, now);
  return { name, bytes: Buffer.from(encodePem('PUBLIC KEY', key)), sigstore: { usage, status, uri: log.baseUrl } };
}

function tsaTargets(tsa: CertificateAuthority | undefined): readonly TufTarget[] {
  if (tsa === undefined) return [];
  const chain = chainOf(tsa);
  const sigstore = { usage: 'TSA', status: 'Active', uri: tsa.uri } as const;
  return chain.map((pem, index) => {
    const last = index === chain.length - 1 ? 'root' : `intermediate_${index - 1}`;
    return { name: `tsa_${index === 0 ? 'leaf' : last}.crt.pem`, bytes: Buffer.from(pem), sigstore };
  });
}

function chainOf(authority: CertificateAuthority): readonly string[] {
  return (authority.certChain?.certificates ?? []).map(({ rawBytes }) => encodePem('CERTIFICATE', rawBytes));
}

function statusOf(end: Date | undefined, now: Date): 'Active' | 'Expired' {
  return end !== undefined && end <= now ? 'Expired' : 'Active';
}

interface TrustFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly json: unknown;
}

async function readTrustFile(path: string): Promise<TrustFile> {
  const bytes = await readIfExists(path);
  if (bytes === undefined) {
    throw new AppError('STARTUP', `${path} is missing; a started server and "mayfly trust export" write it`);
  }
  try {
    return { path, bytes, json: JSON.parse(Buffer.from(bytes).toString('utf8')) };
  } catch (cause) {
    throw new AppError('STARTUP', `${path} is not JSON: ${messageOf(cause)}`, { cause });
  }
}

function parse<T>({ path }: TrustFile, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new AppError('STARTUP', `${path}: ${messageOf(cause)}`, { cause });
  }
}

/** The file a target is served as: its digest before its name (TUF specification, Section 6.2, consistent snapshots). */
export function targetFileName(name: string, bytes: Uint8Array): string {
  return `${sha256Hex(bytes)}.${name}`;
}

/** SHA-256 in lower-case hex. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
