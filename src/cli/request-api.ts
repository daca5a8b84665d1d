/** The client's side of the wire: Fulcio's v2 API over HTTP, every answer bounded in time and size and parsed. */
import { z } from 'zod';
import { CommandError, networkReason } from './request-io.js';

const timeoutMs = 30_000;
const maxAnswerBytes = 1024 * 1024;

export interface ApiAnswer {
  readonly status: number;
  readonly text: string;
  readonly requestId: string | undefined;
}

/** What is asked for: a key with its proof of possession, or a CSR. */
export type CertificateRequest =
  | {
      readonly publicKeyRequest: {
        readonly publicKey: { readonly algorithm: string; readonly content: string };
        /** Base64. */
        readonly proofOfPossession: string;
      };
    }
  /** Base64 of a PEM CSR. */
  | { readonly certificateSigningRequest: string };

/** The answer's chain in PEM, leaf first; `detached` when the server issued without a log. */
export interface CertificateAnswer {
  readonly certificates: readonly string[];
  readonly detached: boolean;
}

const chain = z.object({ chain: z.object({ certificates: z.array(z.string()).min(1).max(16) }) });
const success = z.union([
  z.object({ signedCertificateEmbeddedSct: chain }),
  z.object({ signedCertificateDetachedSct: chain }),
]);
const failure = z.object({
  message: z.string(),
  details: z
    .array(z.object({ reason: z.string().optional(), metadata: z.record(z.string(), z.string()).optional() }))
    .optional()
    .catch([]),
});
const bundle = z.object({ chains: z.array(z.object({ certificates: z.array(z.string()).min(1) })).min(1) });
const configuration = z.object({ issuers: z.array(z.object({ issuerUrl: z.string().optional() })) });

/**
 * POST /api/v2/signingCert.
 * @throws CommandError 1 with the server's message, reason and request id, or with what was wrong with its answer.
 */
export async function requestCertificate(
  baseUrl: string,
  token: string,
  request: CertificateRequest,
  fetcher: typeof fetch,
): Promise<CertificateAnswer> {
  const url = apiUrl(baseUrl, 'api/v2/signingCert');
  const answer = await call(url, fetcher, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify(request),
  });
  if (answer.status !== 200 && answer.status !== 201) throw refusal(url, answer);
  const parsed = success.safeParse(parseJson(url, answer));
  if (!parsed.success) throw unexpected(url, 'its JSON holds no certificate chain');
  return 'signedCertificateEmbeddedSct' in parsed.data
    ? { certificates: parsed.data.signedCertificateEmbeddedSct.chain.certificates, detached: false }
    : { certificates: parsed.data.signedCertificateDetachedSct.chain.certificates, detached: true };
}

/** GET /api/v2/trustBundle: chains in PEM, issuing CA first, root last. Throws CommandError 1. */
export async function fetchTrustBundle(
  baseUrl: string,
  fetcher: typeof fetch,
): Promise<readonly (readonly string[])[]> {
  const url = apiUrl(baseUrl, 'api/v2/trustBundle');
  const answer = await call(url, fetcher);
  if (answer.status !== 200) throw refusal(url, answer);
  const parsed = bundle.safeParse(parseJson(url, answer));
  if (!parsed.success) throw unexpected(url, 'its JSON holds no certificate chains');
  return parsed.data.chains.map(({ certificates }) => certificates);
}

/** GET /api/v2/configuration: the issuers whose tokens the server takes, wildcards left out; empty when it does not say. */
export async function fetchIssuers(baseUrl: string, fetcher: typeof fetch): Promise<readonly string[]> {
  const url = apiUrl(baseUrl, 'api/v2/configuration');
  const answer = await call(url, fetcher);
  if (answer.status !== 200) return [];
  const parsed = configuration.safeParse(parseJson(url, answer));
  return parsed.success ? parsed.data.issuers.flatMap(({ issuerUrl }) => (issuerUrl ? [issuerUrl] : [])) : [];
}

/** GET of a text; undefined when the server answers anything but 200. Throws CommandError 1 when it cannot be reached. */
export async function fetchText(url: URL, fetcher: typeof fetch): Promise<string | undefined> {
  const answer = await call(url, fetcher);
  return answer.status === 200 ? answer.text : undefined;
}

/**
 * `path` below `baseUrl`, whether that ends in a slash or not.
 * @throws CommandError 2 when `baseUrl` is not an http or https URL.
 */
export function apiUrl(baseUrl: string, path: string): URL {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl.endsWith('/') ? baseUrl : `${baseUrl}/`) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new CommandError(2, `"${baseUrl}" is not an http or https URL`);
  }
  return new URL(path, url);
}

async function call(url: URL, fetcher: typeof fetch, init: RequestInit = {}): Promise<ApiAnswer> {
  try {
    // A redirect could carry the token to another host.
    const response = await fetcher(url, { ...init, redirect: 'error', signal: AbortSignal.timeout(timeoutMs) });
    const requestId = response.headers.get('x-request-id') ?? undefined;
    return { status: response.status, text: await readText(url, response), requestId };
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(1, `${url.origin} cannot be reached: ${networkReason(error)}`, error);
  }
}

async function readText(url: URL, response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxAnswerBytes) throw unexpected(url, `it is longer than ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(url: URL, answer: ApiAnswer): unknown {
  try {
    return JSON.parse(answer.text);
  } catch {
    throw unexpected(url, 'it is not JSON');
  }
}

function unexpected(url: URL, found: string): CommandError {
  return new CommandError(1, `the answer of ${url.href} is not what a certificate authority gives: ${found}`);
}

function refusal(url: URL, answer: ApiAnswer): CommandError {
  let body: unknown;
  try {
    body = JSON.parse(answer.text);
  } catch {
    body = undefined;
  }
  const parsed = failure.safeParse(body);
  if (!parsed.success) return new CommandError(1, `${url.href} answered HTTP ${answer.status}`);
  const { message, details = [] } = parsed.data;
  const reason = details.find((detail) => detail.reason !== undefined)?.reason;
  const requestId = answer.requestId ?? details.find((detail) => detail.metadata?.requestId)?.metadata?.requestId;
  const facts = [
    `HTTP ${answer.status}`,
    ...(reason === undefined ? [] : [reason]),
    ...(requestId === undefined ? [] : [`request id ${requestId}`]),
  ];
  return new CommandError(
    1,
    `the certificate authority refused: ${printable(message)} (${printable(facts.join(', '))})`,
  );
}

/** A server's text on its way to a terminal: no control characters, bounded. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ').slice(0, 1000);
}
