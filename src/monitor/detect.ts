import { createPublicKey, type KeyObject } from 'node:crypto';
import { checkpointPath } from '../ctlog/storage.js';
import { messageOf } from '../errors.js';
import type { LogClient } from './client.js';
import { BadAnswer, Unavailable } from './finding.js';
import { rfc6962Source } from './rfc6962-source.js';
import { type LogSource, type LogType, maxSmallBytes } from './source.js';
import { staticSource } from './static-source.js';

const sources: Readonly<Record<LogType, (client: LogClient) => LogSource>> = {
  'static-ct': staticSource,
  rfc6962: rfc6962Source,
};

const headPaths: readonly (readonly [LogType, string])[] = [
  ['static-ct', checkpointPath],
  ['rfc6962', 'ct/v1/get-sth'],
];

/** Where a log may be: at the URL itself, or where Mayfly serves its own below the URL of a CA. */
const places = ['', 'ctlog'];

/**
 * Finds a log at a URL by asking for its head, as a checkpoint first: tiles are cheaper for both sides. Throws Unavailable
 * when nothing there is a log.
 */
export async function findLog(
  url: string,
  type: LogType | undefined,
  clientOf: (url: string) => LogClient,
): Promise<LogSource> {
  const tried: string[] = [];
  for (const place of places) {
    const client = clientOf(place === '' ? url : `${url.replace(/\/+$/, '')}/${place}`);
    for (const [candidate, path] of headPaths) {
      if (type !== undefined && type !== candidate) continue;
      try {
        const bytes = await client.get(path, maxSmallBytes);
        if (bytes !== undefined && looksLikeHead(candidate, bytes)) return sources[candidate](client);
        tried.push(`${place === '' ? '' : `${place}/`}${path}: ${bytes === undefined ? 'not there' : 'no tree head'}`);
      } catch (error) {
        if (!(error instanceof BadAnswer)) throw error;
        tried.push(messageOf(error));
      }
    }
  }
  throw new Unavailable(`no transparency log was found at ${url} (${tried.join('; ')})`);
}

const looksLike: Readonly<Record<LogType, (bytes: Uint8Array) => boolean>> = {
  'static-ct': (bytes) => /^[^\n]+\n\d+\n/.test(Buffer.from(bytes.subarray(0, 2048)).toString('latin1')),
  rfc6962: (bytes) => Buffer.from(bytes).includes('tree_size'),
};

/** Whether bytes are meant as a head; what is none is not a wrong signature. */
export function looksLikeHead(type: LogType, bytes: Uint8Array): boolean {
  return looksLike[type](bytes);
}

/** The keys that the log may have: the one that signed its head, or the first one when none did. */
export function keyOfLog(source: LogSource, head: Uint8Array, keys: readonly Uint8Array[]): KeyObject | undefined {
  const candidates = keys.map((der) => createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' }));
  return candidates.find((key) => signed(source, head, key)) ?? candidates[0];
}

function signed(source: LogSource, head: Uint8Array, key: KeyObject): boolean {
  try {
    source.openHead(head, key, undefined);
    return true;
  } catch {
    return false;
  }
}
