import { createPublicKey, generateKeyPairSync, hash, type KeyObject } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { signDigitally } from '../../src/ct/digitally-signed.js';
import { logIdOf, sctSigningInput } from '../../src/ct/sct.js';
import { withoutPoison } from '../../src/ctlog/precert-tbs.js';
import { parseCertificate } from '../../src/x509/certificate.js';

/** What a log may say in an SCT, and how it may behave. */
export interface Behaviour {
  /** Signs with this key in place of the log's. */
  readonly key?: KeyObject;
  /** Names the log of this key in place of its own. */
  readonly idOf?: KeyObject;
  /** Milliseconds added to the true time. */
  readonly timeOffsetMs?: number;
  /** Signs the precertificate of the submission before this one. */
  readonly previous?: boolean;
  /** Answers in its own way; nothing is signed. */
  readonly answer?: (response: ServerResponse) => void;
}

/** An RFC 6962 log that keeps no promise unless told to. */
export interface FakeLog {
  readonly url: string;
  readonly publicKeyPem: string;
  /** DER of every precertificate that came. */
  readonly submitted: readonly Uint8Array[];
  behave(behaviour: Behaviour): void;
  close(): Promise<void>;
}

export const newLogKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

export async function startFakeLog(): Promise<FakeLog> {
  const ownKey = newLogKey();
  const submitted: Uint8Array[] = [];
  let behaviour: Behaviour = {};
  const server = createServer((request, response) => {
    if (request.method !== 'POST') return void response.writeHead(404).end();
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { chain } = JSON.parse(Buffer.concat(chunks).toString()) as { chain: string[] };
      const [precertificate, issuer] = chain.map((item) => Buffer.from(item, 'base64'));
      if (precertificate === undefined || issuer === undefined) throw new Error('a submission without an issuer');
      submitted.push(precertificate);
      if (behaviour.answer !== undefined) return behaviour.answer(response);
      const signed = behaviour.previous === true ? submitted.at(-2) : precertificate;
      response.end(JSON.stringify(sctFor(signed ?? precertificate, issuer, ownKey, behaviour)));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/log`,
    publicKeyPem: String(createPublicKey(ownKey).export({ type: 'spki', format: 'pem' })),
    submitted,
    behave(next) {
      behaviour = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The answer to add-pre-chain (RFC 6962 Section 4.1). */
function sctFor(precertificate: Uint8Array, issuer: Uint8Array, ownKey: KeyObject, behaviour: Behaviour): object {
  const tbs = withoutPoison(precertificate);
  if (tbs === undefined) throw new Error('a precertificate without poison');
  const issuerKeyHash = hash('sha256', Buffer.from(parseCertificate(issuer).spki), 'buffer');
  const timestamp = Date.now() + (behaviour.timeOffsetMs ?? 0);
  const input = sctSigningInput({ type: 'precert', tbs, issuerKeyHash }, BigInt(timestamp), new Uint8Array());
  return {
    sct_version: 0,
    id: Buffer.from(logIdOf(behaviour.idOf ?? ownKey)).toString('base64'),
    timestamp,
    extensions: '',
    signature: Buffer.from(signDigitally(input, behaviour.key ?? ownKey)).toString('base64'),
  };
}
