import { setTimeout as sleep } from 'node:timers/promises';
import type { SignedTreeHead } from '../../src/ctlog/checkpoint.js';
import { sameHash } from '../../src/ctlog/merkle.js';
import { messageOf } from '../../src/errors.js';
import type { Received } from '../support/load.js';
import { type Ledger, placeOf } from './ledger.js';
import type { Instance } from './server.js';
import { rootOfPath, rootsOfProof } from './tree.js';

/** Readers of the log that note every tree head and check every proof they get. */
export interface Readers {
  /** Proofs that were handed out, each checked. */
  readonly proofs: { inclusion: number; consistency: number };
  /** Waits for the last answers. */
  stop(): Promise<void>;
}

const pauseMs = 15;

/**
 * Starts reading beside a load whose newest certificates are in `received`. A false or refused proof goes to the ledger;
 * answers that a kill cuts off do not count.
 */
export function startReaders(instance: Instance, ledger: Ledger, received: readonly Received[]): Readers {
  const proofs = { inclusion: 0, consistency: 0 };
  const logKey = instance.logKey();
  let stopped = false;
  let before: SignedTreeHead | undefined;

  const readOnce = async (): Promise<void> => {
    // Taken first: what a client holds by now must be in the head that is read after it.
    const newest = received.at(-1);
    const head = await attempt(() => instance.head());
    if (head === undefined) return;
    ledger.saw(head);
    if (before !== undefined && before.size > 0 && before.size < head.size) await readConsistency(before, head);
    before = head;
    if (newest !== undefined) await readInclusion(newest, head);
  };

  const readConsistency = async (first: SignedTreeHead, second: SignedTreeHead): Promise<void> => {
    const query = `first=${first.size}&second=${second.size}`;
    const answer = await get<{ consistency: string[] }>(`${instance.url}/ctlog/ct/v1/get-sth-consistency?${query}`);
    if (answer === undefined) return;
    const roots = rootsOfProof(first.size, second.size, first.root, answer.consistency.map(fromBase64));
    ledger.sawRoot(first.size, roots.first);
    ledger.sawRoot(second.size, roots.second);
    if (!sameHash(roots.second, second.root)) ledger.contradicted(`a false consistency proof for ${query}`);
    proofs.consistency += 1;
  };

  const readInclusion = async (certificate: Received, head: SignedTreeHead): Promise<void> => {
    const { index, hash } = placeOf(certificate, logKey);
    const query = `hash=${encodeURIComponent(hash.toString('base64'))}&tree_size=${head.size}`;
    const answer = await get<{ leaf_index: number; audit_path: string[] }>(
      `${instance.url}/ctlog/ct/v1/get-proof-by-hash?${query}`,
    );
    if (answer === undefined) return;
    const root = rootOfPath(answer.leaf_index, head.size, hash, answer.audit_path.map(fromBase64));
    if (answer.leaf_index !== index || !sameHash(root, head.root)) {
      ledger.contradicted(`a false inclusion proof for entry ${index} at size ${head.size}`);
    }
    proofs.inclusion += 1;
  };

  const running = (async () => {
    while (!stopped) {
      await readOnce().catch((error: unknown) => ledger.contradicted(messageOf(error)));
      await sleep(pauseMs);
    }
  })();
  return {
    proofs,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

const fromBase64 = (text: string): Buffer => Buffer.from(text, 'base64');

/** What an HTTP call gives, or undefined when the server was killed meanwhile. */
async function attempt<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    // fetch throws TypeError for whatever the network does; by name, because jest runs in a realm of its own.
    if (typeof error === 'object' && error !== null && 'name' in error && error.name === 'TypeError') return undefined;
    throw error;
  }
}

/** The JSON of an answer; throws when the server refuses, since only what it published is asked for. */
function get<T>(url: string): Promise<T | undefined> {
  return attempt(async () => {
    const response = await fetch(url);
    const text = await response.text();
    if (response.status === 200) return JSON.parse(text) as T;
    throw new Error(`${url} was answered with ${response.status}: ${text}`);
  });
}
