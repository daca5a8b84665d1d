import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import type { CertificateAuthority } from '../ca/authority.js';
import { operatorOf, type TrustMaterial } from '../trust/material.js';
import { writeTrustFiles } from '../trust/write.js';
import type { IdentitySource } from './identity-source.js';

/** A log as clients must come to trust it. */
export interface PublishedLog {
  readonly url: string;
  readonly publicKey: KeyObject;
}

export interface TrustedState {
  readonly publicUrl: string;
  readonly ca: () => CertificateAuthority;
  readonly publishedLog: PublishedLog | undefined;
  readonly identity: IdentitySource;
}

/**
 * Writes DATA-DIR/trust for clients and returns the directory. The log's key is good from the CA's first day on: no SCT
 * that matters can be older than the CA whose certificates carry it.
 */
export async function writeTrust(dataDir: string, state: TrustedState): Promise<string> {
  const { publicUrl } = state;
  const ca = state.ca();
  const operator = operatorOf(publicUrl);
  const validFor = { start: ca.notBefore };
  const log = state.publishedLog;
  const material: TrustMaterial = {
    cas: [{ chain: ca.chain, uri: publicUrl, validFor, operator }],
    ctLogs:
      log === undefined
        ? []
        : [{ baseUrl: log.url, publicKey: log.publicKey.export({ type: 'spki', format: 'der' }), validFor, operator }],
    oidcProviders: loginIssuers(state.identity).map((url) => ({ url, validFor, operator: operatorOf(url) })),
  };
  const directory = join(dataDir, 'trust');
  await writeTrustFiles(directory, material);
  return directory;
}

/** Where a signing client may send a person to log in: the named issuers of people, not of machines. */
function loginIssuers(identity: IdentitySource): string[] {
  return identity
    .current()
    .list()
    .filter((issuer) => issuer.issuerType === 'email' && !issuer.wildcard)
    .map((issuer) => issuer.url);
}
