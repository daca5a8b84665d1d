import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { newKey, post, v2Body, v2Chain } from '../support/client.js';
import type { CaServer } from './ca-server.js';

/** Clients that ask for certificates until told to stop, and look at every answer. */
export interface HsmLoad {
  /** Answers with this HTTP status since the start or the last `forget`. */
  count(status: number): number;
  forget(): void;
  /** The last Retry-After header, and the last body of a 503. */
  readonly retryAfter: string | undefined;
  readonly lastRefusal: string;
  /** What must never be: another status than 200 and 503, a connection that broke, a certificate that does not verify. */
  readonly wrong: string[];
  stop(): Promise<void>;
}

/** Starts `clients` of POST /api/v2/signingCert with one token, each request with a key of its own. */
export function startHsmLoad(ca: CaServer, token: string, challenge: string, clients: number): HsmLoad {
  const counts = new Map<number, number>();
  const load = { retryAfter: undefined as string | undefined, lastRefusal: '', wrong: [] as string[] };
  let isStopped = false;

  async function once(): Promise<void> {
    const key = newKey();
    const answer = await post(`${ca.url}/api/v2/signingCert`, v2Body(token, challenge, key));
    counts.set(answer.status, (counts.get(answer.status) ?? 0) + 1);
    if (answer.status === 200) {
      const [leaf, issuing] = v2Chain(answer);
      if (leaf === undefined || issuing === undefined || !leaf.verify(issuing.publicKey))
        load.wrong.push('a bad signature');
      const spki = String(leaf?.publicKey.export({ type: 'spki', format: 'pem' }));
      if (spki !== key.publicKeyPem) load.wrong.push('a certificate for the key of somebody else');
    } else if (answer.status === 503) {
      load.retryAfter = answer.headers.get('retry-after') ?? undefined;
      load.lastRefusal = answer.text;
      await sleep(20);
    } else {
      load.wrong.push(`HTTP ${answer.status}: ${answer.text}`);
      await sleep(100);
    }
  }

  const running = Array.from({ length: clients }, async () => {
    while (!isStopped) await once().catch((error: unknown) => load.wrong.push(String(error)));
  });
  return Object.assign(load, {
    count: (status: number) => counts.get(status) ?? 0,
    forget: () => counts.clear(),
    async stop() {
      isStopped = true;
      await Promise.all(running);
    },
  });
}

/** Waits until something holds; throws, saying what did not, after a minute. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(50)) {
    if (await holds()) return;
  }
  throw new Error(`within a minute, it did not come true that ${what}`);
}

/** The processes that a process has started and that still run (Linux). */
export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.split(' ').filter(Boolean).map(Number);
}

/** Whether there is a process with this id. */
export function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}
