import http from 'node:http';
import https from 'node:https';
import { messageOf } from '../errors.js';
import type { VaultSettings } from './kms-vault-settings.js';

/** Vault's HTTP API as far as a signer needs it. */
export interface VaultHttp {
  /** GET, or POST with a JSON body; the `data` of the answer. Rejects with Vault's own words for a refusal. */
  call(path: string, signal: AbortSignal, body?: Readonly<Record<string, unknown>>): Promise<unknown>;
  close(): void;
}

const maxAnswerBytes = 1024 * 1024;

/**
 * Calls over node:http(s), since the built-in fetch can neither trust another root nor show a client certificate. Keeps
 * connections alive and follows no redirect: the token goes to the address that was set.
 */
export function vaultHttp(settings: VaultSettings, maxConcurrent: number): VaultHttp {
  const pool = { keepAlive: true, maxSockets: maxConcurrent };
  const { caCertificate: ca, clientCertificate, tlsServerName: servername } = settings;
  const isTls = settings.address.startsWith('https:');
  const agent = isTls
    ? new https.Agent({
        ...pool,
        ...clientCertificate,
        ...(ca === undefined ? {} : { ca }),
        ...(servername === undefined ? {} : { servername }),
      })
    : new http.Agent(pool);

  function send(path: string, signal: AbortSignal, json: string | undefined): Promise<http.IncomingMessage> {
    const headers = {
      'x-vault-token': settings.token(),
      'x-vault-request': 'true',
      ...(settings.namespace === undefined ? {} : { 'x-vault-namespace': settings.namespace }),
      ...(json === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': `${Buffer.byteLength(json)}` }),
    };
    const method = json === undefined ? 'GET' : 'POST';
    return new Promise((resolve, reject) => {
      const url = `${settings.address}/v1/${path}`;
      const request = (isTls ? https : http).request(url, { method, headers, signal, agent }, resolve);
      request.once('error', reject);
      request.end(json);
    });
  }

  return {
    async call(path, signal, body) {
      const response = await send(path, signal, body === undefined ? undefined : JSON.stringify(body));
      return readAnswer(response, path);
    },
    close: () => agent.destroy(),
  };
}

async function readAnswer(response: http.IncomingMessage, path: string): Promise<unknown> {
  const text = await readText(response);
  const { statusCode: status = 0, headers } = response;
  if (status >= 300 && status < 400) {
    const found = `${status} and the location ${headers.location ?? '(none)'}`;
    throw new Error(`${path}: Vault answered ${found}; set VAULT_ADDR to the address that serves requests`);
  }
  const answer = parseObject(text);
  if (status !== 200) throw new Error(`${path}: Vault answered ${status}${errorsOf(answer)}`);
  if (answer?.data === undefined) throw new Error(`${path}: Vault's answer is not a JSON object with "data"`);
  return answer.data;
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxAnswerBytes) {
      response.destroy();
      throw new Error(`Vault's answer is longer than ${maxAnswerBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function parseObject(text: string): { readonly data?: unknown; readonly errors?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What Vault says is wrong, cut short and on one line. */
function errorsOf(answer: { readonly errors?: unknown } | undefined): string {
  if (!Array.isArray(answer?.errors)) return '';
  if (answer.errors.length === 0) return ': there is nothing of that name';
  const text = answer.errors.map((error) => messageOf(error)).join('; ');
  return `: ${text.replace(/\s+/g, ' ').trim().slice(0, 500)}`;
}
