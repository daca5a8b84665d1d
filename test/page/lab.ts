import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import express, { type NextFunction, type Request, type Response } from 'express';
import type { EmbeddedLog } from '../../src/ctlog/log.js';
import { toAppError } from '../../src/errors.js';
import { errorBody } from '../../src/http/errors.js';
import type { Instance } from '../../src/page/overview.js';
import { openPage, type PageOptions } from '../../src/page/routes.js';
import { children, encodeElement, encodeOid, encodeSequence, encodingOf, readDer, tag } from '../../src/x509/der.js';
import { identityExtensions, sigstoreArc } from '../../src/x509/extensions.js';
import { encodeExtension } from '../../src/x509/tbs.js';
import { chain, issuerKeyHash, issuing, party, poison, signedBy, tbsOf } from '../ctlog/certificates.js';
import { newLogKey, openLog, silent, temporaryDirectory } from '../ctlog/fixtures.js';

/** What a certificate of the tests says; nothing of it is checked. */
export interface Leaf {
  readonly names?: readonly (readonly [kind: 'email' | 'uri' | 'username', value: string])[];
  readonly issuer?: string;
  /** Further extensions below Sigstore's arc, by arc. */
  readonly claims?: Readonly<Record<number, string>>;
  /** Whole extensions, DER. */
  readonly raw?: readonly Uint8Array[];
}

const utf8 = (text: string): Uint8Array => encodeElement(tag.utf8String, Buffer.from(text, 'utf8'));

function nameOf(kind: 'email' | 'uri' | 'username', value: string): Uint8Array {
  const bytes = Buffer.from(value, 'utf8');
  if (kind === 'email') return encodeElement(tag.contextPrimitive(1), bytes);
  if (kind === 'uri') return encodeElement(tag.contextPrimitive(6), bytes);
  const typed = Buffer.concat([encodeOid(`${sigstoreArc}.7`), encodeElement(tag.context(0), utf8(value))]);
  return encodeElement(tag.context(0), typed);
}

/** A precertificate and the TBSCertificate that a log signs for it. */
export function precertificateOf({ names = [], issuer, claims = {}, raw = [] }: Leaf) {
  const arc = (number: number, text: string) => encodeExtension(`${sigstoreArc}.${number}`, false, utf8(text));
  const extensions = [
    ...(names.length === 0
      ? []
      : [encodeExtension('2.5.29.17', true, encodeSequence(...names.map(([kind, value]) => nameOf(kind, value))))]),
    ...(issuer === undefined
      ? []
      : [
          encodeExtension(`${sigstoreArc}.${identityExtensions.issuer.arc}`, false, Buffer.from(issuer, 'utf8')),
          arc(identityExtensions.issuerV2.arc, issuer),
        ]),
    ...Object.entries(claims).map(([number, text]) => arc(Number(number), text)),
    ...raw,
  ];
  const tbs = tbsOf(party('leaf'), issuing, extensions);
  const fields = children(readDer(tbs)).slice(0, -1).map(encodingOf);
  const poisoned = encodeSequence(...fields, encodeElement(tag.context(3), encodeSequence(...extensions, poison)));
  return { precertificate: signedBy(issuing, poisoned), tbs };
}

export const jane: Leaf = { names: [['email', 'jane@example.com']], issuer: 'https://login.example.com' };
export const workflow: Leaf = {
  names: [['uri', 'https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main']],
  issuer: 'https://token.actions.githubusercontent.com',
  claims: {
    [identityExtensions.sourceRepositoryUri.arc]: 'https://github.com/acme/app',
    [identityExtensions.runnerEnvironment.arc]: 'github-hosted',
    [identityExtensions.sourceRepositoryRef.arc]: 'refs/heads/main',
  },
};

export async function add(log: EmbeddedLog, leaf: Leaf): Promise<void> {
  await log.submit({ ...precertificateOf(leaf), chain, issuerKeyHash });
}

export interface PageLab {
  readonly url: string;
  readonly log: EmbeddedLog;
  readonly options: PageOptions;
  close(): Promise<void>;
}

/** A log with these entries, and the page over it on a port of its own. */
export async function openPageLab(leaves: readonly Leaf[], more: Partial<PageOptions> = {}): Promise<PageLab> {
  const directory = temporaryDirectory();
  const key = newLogKey();
  const log = await openLog(directory.path, key);
  for (const leaf of leaves) await add(log, leaf);
  const options: PageOptions = {
    logs: new Map([['ctlog', { log, isFrozen: false }]]),
    notices: [],
    indexDir: join(directory.path, 'page-index'),
    clock: Date.now,
    logger: silent,
    instance: () => instanceOf(log),
    ...more,
  };
  const page = openPage(options);
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  app.use(page.routes);
  app.use((_request: Request, response: Response) => void response.status(404).end());
  app.use((thrown: unknown, _request: Request, response: Response, _next: NextFunction) => {
    const error = toAppError(thrown);
    response.status(error.httpStatus).type('json').end(errorBody(error, 'test'));
  });
  const server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    log,
    options,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await page.close();
      await log.close();
      directory.dispose();
    },
  };
}

/** An instance of which everything is known. */
export function instanceOf(log: Pick<EmbeddedLog, 'publicKey'>, more: Partial<Instance> = {}): Instance {
  const publicUrl = 'https://ca.example.com';
  const validFor = { start: new Date('2026-01-01T00:00:00Z') };
  const operator = 'ca.example.com';
  return {
    publicUrl,
    base: '',
    version: '0.0.0-test',
    certificateLifetimeMs: 600_000,
    checks: [{ name: 'server', ok: true }],
    issuers: [
      { url: 'https://login.example.com', wildcard: false, audience: 'sigstore', issuerType: 'email' },
      { url: 'https://oidc.eks.*.amazonaws.com/id/*', wildcard: true, audience: 'sigstore', issuerType: 'kubernetes' },
    ],
    cas: [{ name: 'first', state: 'active', chain }],
    material: {
      cas: [{ chain, uri: publicUrl, validFor, operator }],
      ctLogs: [
        {
          baseUrl: `${publicUrl}/ctlog`,
          publicKey: log.publicKey.export({ type: 'spki', format: 'der' }),
          validFor,
          operator,
        },
      ],
      tsas: [],
      rekors: [],
      oidcProviders: [{ url: 'https://login.example.com', validFor, operator: 'login.example.com' }],
    },
    trustFiles: ['trusted_root.json', 'signing_config.json', 'client-trust-config.json', 'ca.pem', 'ctlog.pub.pem'],
    hasTuf: false,
    hasTimestamps: false,
    ...more,
  };
}
