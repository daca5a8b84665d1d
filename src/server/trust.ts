import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import type { CertificateAuthority } from '../ca/authority.js';
import { readIfExists } from '../ctlog/durable-file.js';
import type { TrustFile } from '../http/app.js';
import { operatorOf, type TrustedLog, type TrustMaterial, type TrustPeriod } from '../trust/material.js';
import { trustFileNames, writeTrustFiles } from '../trust/write.js';
import type { IdentitySource } from './identity-source.js';

/** A log as clients must come to trust it. */
export interface PublishedLog {
  readonly url: string;
  readonly publicKey: KeyObject;
  /** When it gave its first SCT at the earliest, if it is not as old as the CA. */
  readonly start?: Date;
  /** When a log that is frozen gave its last SCT. */
  readonly end?: Date;
}

/** What lies under DATA-DIR/trust, and is served under /trust. */
export interface WrittenTrust {
  readonly directory: string;
  readonly files: ReadonlyMap<string, TrustFile>;
}

export interface TrustedState {
  readonly publicUrl: string;
  readonly ca: () => CertificateAuthority;
  /** Every log whose SCTs a certificate may carry. */
  readonly publishedLogs: readonly PublishedLog[];
  readonly identity: IdentitySource;
}

/**
 * Writes DATA-DIR/trust for clients and reads them back to be served. The log's key is good from the CA's first day on: no SCT
 * that matters can be older than the CA whose certificates carry it.
 */
export async function writeTrust(dataDir: string, state: TrustedState): Promise<WrittenTrust> {
  const { publicUrl } = state;
  const ca = state.ca();
  const operator = operatorOf(publicUrl);
  const validFor = { start: ca.notBefore };
  const material: TrustMaterial = {
    cas: [{ chain: ca.chain, uri: publicUrl, validFor, operator }],
    ctLogs: state.publishedLogs.map((log) => toTrustedLog(log, publicUrl, validFor)),
    oidcProviders: loginIssuers(state.identity).map((url) => ({ url, validFor, operator: operatorOf(url) })),
  };
  const directory = join(dataDir, 'trust');
  await writeTrustFiles(directory, material);
  return { directory, files: await readTrust(directory) };
}

/** Our own log is the operator's, another is its host's. */
function toTrustedLog(log: PublishedLog, publicUrl: string, ca: TrustPeriod): TrustedLog {
  const validFor = { start: log.start ?? ca.start, ...(log.end === undefined ? {} : { end: log.end }) };
  const operator = operatorOf(log.url.startsWith(publicUrl) ? publicUrl : log.url);
  return { baseUrl: log.url, publicKey: log.publicKey.export({ type: 'spki', format: 'der' }), validFor, operator };
}

async function readTrust(directory: string): Promise<Map<string, TrustFile>> {
  const files = new Map<string, TrustFile>();
  for (const name of Object.values(trustFileNames)) {
    const bytes = await readIfExists(join(directory, name));
    const type = name.endsWith('.json') ? 'application/json' : 'application/x-pem-file';
    if (bytes !== undefined) files.set(name, { type, text: Buffer.from(bytes).toString('utf8') });
  }
  return files;
}

/** Where a signing client may send a person to log in: the named issuers of people, not of machines. */
function loginIssuers(identity: IdentitySource): string[] {
  return identity
    .current()
    .list()
    .filter((issuer) => issuer.issuerType === 'email' && !issuer.wildcard)
    .map((issuer) => issuer.url);
}
