import { createPublicKey } from 'node:crypto';
import { open } from 'node:fs/promises';
import { loadTrust } from '../../src/cli/request-trust.js';
import { loggedPrecert, verifyIssued } from '../../src/cli/verify-certificate.js';
import { checkInclusion } from '../../src/cli/verify-certificate-log.js';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import { decodePem, decodePemAll } from '../../src/x509/pem.js';
import type { Target } from './targets.js';

/** Requests of a corpus that are sent again and whose certificates are checked completely. */
const sampleSize = 25;

/**
 * Checks what a load left behind: the log has exactly as many entries as certificates were issued, and a sample of
 * certificates passes every check of a careful client: key, chain, validity, usage, SCT, and inclusion under the
 * checkpoint. Throws with what is wrong.
 */
export async function checkMayfly(target: Target, corpus: string): Promise<string> {
  const check = await certificateCheck(target);
  for (const request of await firstRequests(corpus, sampleSize)) {
    const answer = await sendRequest(target, request);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`a request of the sample was answered ${answer.status}: ${text}`);
    await check(request, text);
  }
  const issued = (await target.metrics()).get('fulcio_new_certs');
  const size = Number((await (await fetch(`${target.url}/ctlog/checkpoint`)).text()).split('\n')[1]);
  if (issued !== size) throw new Error(`${issued} certificates were issued and the log has ${size} entries`);
  return `${sampleSize} certificates checked; ${issued} issued and ${size} entries in the log`;
}

export function sendRequest(target: Pick<Target, 'url'>, request: CorpusRequest): Promise<Response> {
  const headers = { 'Content-Type': 'application/json', ...request.headers };
  return fetch(`${target.url}${request.path}`, { method: 'POST', headers, body: request.body });
}

/**
 * Every check of a careful client, for answers of `target`: resolves with a function that throws with what is wrong, and
 * resolves with the index that the SCT gives the certificate's entry; undefined when it gives none.
 */
export async function certificateCheck(
  target: Target,
): Promise<(request: CorpusRequest, answer: string) => Promise<number | undefined>> {
  const trust = await loadTrust({ url: target.url } as Parameters<typeof loadTrust>[0], { fetch });
  return async (request, text) => {
    const [leaf, ...chain] = chainOf(text);
    if (leaf === undefined) throw new Error('a request of the sample was answered without a certificate');
    const expectedKey = request.publicKey ?? new Uint8Array();
    const issued = { leaf, chain, expectedKey, ...trust, now: new Date() };
    const logged = loggedPrecert(issued);
    if (logged === undefined) throw new Error('a certificate of the sample carries no SCT');
    const log = { url: `${target.url}/ctlog`, fetch, sleep };
    const checks = [...(await verifyIssued(issued)), await checkInclusion(logged, log)];
    const wrong = checks.find(({ name, status }) => status !== 'passed' && !(name === 'key' && !request.publicKey));
    if (wrong !== undefined)
      throw new Error(`a certificate of the sample failed the check "${wrong.name}": ${wrong.detail}`);
    return decodeLeafIndex(logged.sct.extensions);
  };
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function chainOf(text: string): Uint8Array[] {
  if (!text.startsWith('{')) return [...decodePemAll(text, 'CERTIFICATE')];
  const answer = JSON.parse(text) as { signedCertificateEmbeddedSct: { chain: { certificates: string[] } } };
  return answer.signedCertificateEmbeddedSct.chain.certificates.map((pem) => decodePem(pem, ['CERTIFICATE']).der);
}

export interface CorpusRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** DER SubjectPublicKeyInfo; undefined when it is in a CSR. */
  readonly publicKey: Uint8Array | undefined;
}

/** Reads the first requests of an HTTP corpus. */
export async function firstRequests(path: string, count: number): Promise<CorpusRequest[]> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(count * 16_384), 0, count * 16_384, 0);
    const requests: CorpusRequest[] = [];
    for (let at = 0; requests.length < count && at < bytesRead; ) {
      const end = buffer.indexOf('\n', at);
      const length = Number(buffer.toString('latin1', at, end));
      if (end < 0 || end + 1 + length > bytesRead) break;
      requests.push(parseRequest(buffer.toString('utf8', end + 1, end + 1 + length)));
      at = end + 1 + length;
    }
    return requests;
  } finally {
    await file.close();
  }
}

function parseRequest(text: string): CorpusRequest {
  const [head = '', body = ''] = text.split('\r\n\r\n');
  const authorization = /^Authorization: (.*)$/m.exec(head)?.[1]?.trim();
  const message = JSON.parse(body) as {
    readonly publicKeyRequest?: { readonly publicKey: { readonly content: string } };
    readonly publicKey?: { readonly content: string };
  };
  const encoded = message.publicKey?.content;
  const pem = message.publicKeyRequest?.publicKey.content ?? (encoded && Buffer.from(encoded, 'base64').toString());
  return {
    path: head.split(' ')[1] ?? '',
    headers: authorization === undefined ? {} : { Authorization: authorization },
    body,
    publicKey: pem ? createPublicKey(pem).export({ type: 'spki', format: 'der' }) : undefined,
  };
}
