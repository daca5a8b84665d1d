import { createHash } from 'node:crypto';
import {
  type CertificateAuthority,
  type DistinguishedName,
  HashAlgorithm,
  type TimeRange,
  type TransparencyLogInstance,
  TrustedRoot,
} from '@sigstore/protobuf-specs';
import { AppError } from '../errors.js';
import { parseCertificate } from '../x509/certificate.js';
import { nameAttributes } from '../x509/name.js';
import { parseSpki } from '../x509/spki.js';
import { keyDetailsOf } from './key-details.js';
import type { TrustedAuthority, TrustedLog, TrustedRekor, TrustMaterial, TrustPeriod } from './material.js';

const ed25519 = '1.3.101.112';

/** Version 0.1, which every client in the field reads; it has no `operator` and no `checkpointKeyId`. */
export const trustedRootMediaType = 'application/vnd.dev.sigstore.trustedroot+json;version=0.1';

/**
 * The trusted root of an instance (sigstore_trustroot.proto, TrustedRoot) as a JSON value: what a client needs to
 * verify its certificates offline. Each list is in ascending order of `validFor.start`.
 * @throws AppError STARTUP for an empty chain, a certificate that cannot be read or a log key no client supports.
 */
export function trustedRootJson(material: TrustMaterial): unknown {
  const json = TrustedRoot.toJSON({
    mediaType: trustedRootMediaType,
    tlogs: oldestFirst(material.rekors ?? []).map((rekor) => toLogInstance(rekor, rekorIdOf(rekor))),
    certificateAuthorities: oldestFirst(material.cas).map(toAuthority),
    ctlogs: oldestFirst(material.ctLogs).map((log) => toLogInstance(log, logIdOf(log.publicKey))),
    timestampAuthorities: oldestFirst(material.tsas ?? []).map(toAuthority),
  });
  return forStrictReaders(json);
}

/**
 * proto3 JSON leaves out empty strings and lists, and sigstore-python refuses a subject without `organization` and a
 * trusted root without `tlogs` or `ctlogs`.
 */
function forStrictReaders(json: unknown): unknown {
  const whole = (authority: object): object => ({
    ...authority,
    subject: { organization: '', commonName: '', ...('subject' in authority ? Object(authority.subject) : {}) },
  });
  const { mediaType, ...lists } = Object(json);
  return Object.fromEntries(
    Object.entries({ mediaType, tlogs: [], certificateAuthorities: [], ctlogs: [], ...lists }).map(([name, value]) =>
      name.endsWith('Authorities') && Array.isArray(value) ? [name, value.map(whole)] : [name, value],
    ),
  );
}

/** The protobuf form of a period. */
export function toTimeRange(period: TrustPeriod): TimeRange {
  return { start: period.start, end: period.end };
}

/** The log id of RFC 6962 Section 3.2: SHA-256 of the DER SubjectPublicKeyInfo. */
export function logIdOf(spki: Uint8Array): Uint8Array {
  return createHash('sha256').update(spki).digest();
}

function oldestFirst<T extends { readonly validFor: TrustPeriod }>(entries: readonly T[]): T[] {
  return [...entries].sort((a, b) => a.validFor.start.getTime() - b.validFor.start.getTime());
}

function toAuthority(authority: TrustedAuthority): CertificateAuthority {
  return {
    subject: subjectOfRoot(authority.chain),
    uri: authority.uri,
    certChain: { certificates: authority.chain.map((der) => ({ rawBytes: Buffer.from(der) })) },
    validFor: toTimeRange(authority.validFor),
    operator: '',
  };
}

/** A Rekor 2 with an Ed25519 key identifies itself as its signed notes do: by origin, algorithm (1) and key. */
function rekorIdOf({ publicKey, origin }: TrustedRekor): Uint8Array {
  const { algorithm, key } = parseSpki(publicKey);
  if (origin === undefined || algorithm !== ed25519) return logIdOf(publicKey);
  return createHash('sha256').update(`${origin}\n\u0001`).update(key).digest();
}

function toLogInstance(log: TrustedLog, id: Uint8Array): TransparencyLogInstance {
  return {
    baseUrl: log.baseUrl,
    hashAlgorithm: HashAlgorithm.SHA2_256,
    publicKey: {
      rawBytes: Buffer.from(log.publicKey),
      keyDetails: keyDetailsOf(log.publicKey),
      validFor: toTimeRange(log.validFor),
    },
    logId: { keyId: Buffer.from(id) },
    checkpointKeyId: undefined,
    operator: '',
  };
}

function subjectOfRoot(chain: readonly Uint8Array[]): DistinguishedName {
  const root = chain.at(-1);
  if (root === undefined) throw new AppError('STARTUP', 'a certificate authority for the trusted root has no chain');
  try {
    const attributes = nameAttributes(parseCertificate(root).subject);
    const first = (oid: string): string => attributes.find((attribute) => attribute.oid === oid)?.value ?? '';
    return { organization: first('2.5.4.10'), commonName: first('2.5.4.3') };
  } catch (cause) {
    throw new AppError('STARTUP', 'a root certificate for the trusted root is not DER X.509', { cause });
  }
}
