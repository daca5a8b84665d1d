import http from 'node:http';
import https from 'node:https';

/** An HTTP answer, read to its end. */
export interface LogAnswer {
  readonly status: number;
  /** The Retry-After header as it came. */
  readonly retryAfter: string | undefined;
  readonly body: Buffer;
}

export interface CallLimits {
  readonly signal: AbortSignal;
  /** Bytes of an answer's body; a longer one is an error. */
  readonly maxBytes: number;
}

/** Sends one request and reads the answer; rejects on a network error, a body past its limit, or an abort. */
export interface LogTransport {
  get(url: URL, limits: CallLimits): Promise<LogAnswer>;
  /** Sends JSON, or text of another content type. */
  post(url: URL, text: string, limits: CallLimits, contentType?: string): Promise<LogAnswer>;
  close(): void;
}

export interface LogTransportOptions {
  /** Sent as Host instead of the URL's (TLS still verifies the URL's name). */
  readonly hostHeader?: string;
  /** PEM certificates to trust for TLS instead of the system's. */
  readonly caCert?: string;
  /** Further headers, asked for at each request: the trace it is a part of. */
  readonly headers?: (() => Readonly<Record<string, string>>) | undefined;
}

/**
 * A transport on node:http(s): the built-in fetch can neither send another Host nor trust another root. Keeps
 * connections alive and follows no redirect.
 */
export function logTransport({ hostHeader, caCert, headers }: LogTransportOptions): LogTransport {
  const pool = { keepAlive: true, maxSockets: 64 };
  const plain = new http.Agent(pool);
  const tls = new https.Agent(caCert === undefined ? pool : { ...pool, ca: caCert });

  const host = hostHeader === undefined ? {} : { host: hostHeader };

  function send(url: URL, { signal, maxBytes }: CallLimits, sent?: Content): Promise<LogAnswer> {
    const content =
      sent === undefined ? {} : { 'content-type': sent.type, 'content-length': Buffer.byteLength(sent.text) };
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:';
      const method = sent === undefined ? 'GET' : 'POST';
      const settings = {
        method,
        headers: { ...headers?.(), ...content, ...host },
        signal,
        agent: secure ? tls : plain,
      };
      const request = (secure ? https : http).request(url, settings, (response) => {
        readAnswer(response, maxBytes).then(resolve, reject);
      });
      request.once('error', reject);
      request.end(sent?.text);
    });
  }

  return {
    get: (url, limits) => send(url, limits),
    post: (url, text, limits, type = 'application/json') => send(url, limits, { text, type }),
    close() {
      plain.destroy();
      tls.destroy();
    },
  };
}

interface Content {
  readonly text: string;
  readonly type: string;
}

async function readAnswer(response: http.IncomingMessage, maxBytes: number): Promise<LogAnswer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) {
      response.destroy();
      throw new Error(`the answer is longer than ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  const { statusCode: status = 0, headers } = response;
  return { status, retryAfter: headers['retry-after'], body: Buffer.concat(chunks) };
}
