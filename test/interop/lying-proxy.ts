import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The answer to add-pre-chain (RFC 6962 Section 4.1). */
export interface SctJson {
  readonly sct_version: number;
  readonly id: string;
  readonly timestamp: number;
  readonly extensions: string;
  readonly signature: string;
}

/** Changes an answer; `previous` is the log's true answer before this one. */
export type Lie = (sct: SctJson, previous: SctJson | undefined) => SctJson;

/** Stands between a CA and its log, and changes the log's answers. */
export interface LyingProxy {
  readonly url: string;
  tell(lie: Lie): void;
  close(): Promise<void>;
}

/** Starts a proxy before the log at `logUrl` that is honest until it is told to lie. */
export async function startLyingProxy(logUrl: string): Promise<LyingProxy> {
  let lie: Lie = (sct) => sct;
  let previous: SctJson | undefined;
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const path = (request.url ?? '').replace(/^\/log/, '');
    const { method = 'GET' } = request;
    const body = method === 'POST' ? { body: Buffer.concat(chunks) } : {};
    const answer = await fetch(`${logUrl}${path}`, { method, ...body });
    let text = await answer.text();
    if (answer.status === 200 && path.endsWith('/add-pre-chain')) {
      const sct = JSON.parse(text) as SctJson;
      text = JSON.stringify(lie(sct, previous));
      previous = sct;
    }
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/log`,
    tell(next) {
      lie = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
