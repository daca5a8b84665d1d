import { createHash, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { readIfExists } from '../ctlog/durable-file.js';
import type { TrustFile } from '../http/app.js';
import { operatorOf, type TrustedAuthority, type TrustedLog, type TrustMaterial } from '../trust/material.js';
import type { OperatorServices } from '../trust/services.js';
import { trustFileNames, writeTrustFiles } from '../trust/write.js';
import type { CaView } from './ca-view.js';
import type { IdentitySource } from './identity-source.js';
import type { Timestamps } from './open-tsa.js';

/** A log as clients must come to trust it. */
export interface PublishedLog {
  readonly url: string;
  readonly publicKey: KeyObject;
  /** When it gave its first SCT at the earliest, if it is not as old as the first CA. */
  readonly start?: Date;
  /** When a log that is frozen gave its last SCT. */
  readonly end?: Date;
}

/** What lies under DATA-DIR/trust and is served under /trust: always what clients need to know now. */
export interface Trust {
  readonly directory: string;
  files(): ReadonlyMap<string, TrustFile>;
  /** Makes the files say what `view` says, and the state beside it; throws AppError STARTUP when it cannot. */
  publish(view: CaView): Promise<void>;
  /** The same with the view that was published last, because the state beside it has changed. */
  refresh(): Promise<void>;
}

export interface TrustedState {
  readonly publicUrl: string;
  /** Every log whose SCTs a certificate may carry. */
  readonly publishedLogs: readonly PublishedLog[];
  readonly identity: IdentitySource;
  /** Every authority whose timestamps count; the one in use first. */
  readonly timestamps: Pick<Timestamps, 'trusted'>;
  /** Of other servers, after our own. */
  readonly services: OperatorServices;
}

/** The trust files of DATA-DIR/trust, which the first `publish` writes and reads back to be served. */
export function openTrust(dataDir: string, state: TrustedState): Trust {
  const directory = join(dataDir, 'trust');
  let files: ReadonlyMap<string, TrustFile> = new Map();
  let published: CaView | undefined;
  let last: Promise<void> = Promise.resolve();
  const write = async (view: CaView): Promise<void> => {
    await writeTrustFiles(directory, trustMaterial(view, state));
    files = await readTrust(directory);
    published = view;
  };
  /** One write after the other, whatever becomes of the one before: a refresh must not bring back an older view. */
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
  return {
    directory,
    files: () => files,
    publish: (view) => inTurn(() => write(view)),
    refresh: () => inTurn(async () => (published === undefined ? undefined : write(published))),
  };
}

/** What clients are to know: every CA and log, past and coming ones included, the one in use first. */
export function trustMaterial(view: Pick<CaView, 'published'>, state: TrustedState): TrustMaterial {
  const { publicUrl, publishedLogs, identity } = state;
  const operator = operatorOf(publicUrl);
  const cas = view.published.map(({ chain, notBefore, end }): TrustedAuthority => {
    const validFor = { start: notBefore, ...(end === undefined ? {} : { end }) };
    return { chain, uri: publicUrl, validFor, operator };
  });
  // No SCT that matters can be older than the CA whose certificate carries it.
  const first = new Date(Math.min(...cas.map(({ validFor }) => validFor.start.getTime())));
  return {
    cas,
    ctLogs: publishedLogs.map((log) => toTrustedLog(log, publicUrl, first)),
    tsas: [...state.timestamps.trusted, ...state.services.tsas],
    rekors: state.services.rekors,
    oidcProviders: loginIssuers(identity).map((url) => ({
      url,
      validFor: { start: cas[0]?.validFor.start ?? first },
      operator: operatorOf(url),
    })),
  };
}

/** Our own log is the operator's, another is its host's. */
function toTrustedLog(log: PublishedLog, publicUrl: string, first: Date): TrustedLog {
  const validFor = { start: log.start ?? first, ...(log.end === undefined ? {} : { end: log.end }) };
  const operator = operatorOf(log.url.startsWith(publicUrl) ? publicUrl : log.url);
  return { baseUrl: log.url, publicKey: log.publicKey.export({ type: 'spki', format: 'der' }), validFor, operator };
}

async function readTrust(directory: string): Promise<Map<string, TrustFile>> {
  const files = new Map<string, TrustFile>();
  for (const name of Object.values(trustFileNames)) {
    const bytes = await readIfExists(join(directory, name));
    if (bytes === undefined) continue;
    const type = name.endsWith('.json') ? 'application/json' : 'application/x-pem-file';
    const etag = `"${createHash('sha256').update(bytes).digest('base64url')}"`;
    files.set(name, { type, text: Buffer.from(bytes).toString('utf8'), etag });
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
