import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { MonitorFlags } from '../../src/cli/monitor-options.js';
import { monitorSettings } from '../../src/cli/monitor-options.js';
import { type MonitorIo, runMonitor } from '../../src/cli/monitor-run.js';
import { encodeExtraData, encodeMerkleTreeLeaf, encodeTimestampedEntry, type SignedEntry } from '../../src/ct/leaf.js';
import { encodeLeafIndex } from '../../src/ct/leaf-index.js';
import { logIdOf } from '../../src/ct/sct.js';
import { formatCheckpoint, noteKeyId, type SignedTreeHead, signTreeHead } from '../../src/ctlog/checkpoint.js';
import { type Edge, emptyEdge, extendEdge } from '../../src/ctlog/edge.js';
import {
  appendLeaves,
  consistencyProof,
  type Hash,
  inclusionProof,
  leafHash,
  noPeaks,
  peaksRoot,
} from '../../src/ctlog/merkle.js';
import { withoutPoison } from '../../src/ctlog/precert-tbs.js';
import { encodeTileLeaf } from '../../src/ctlog/tile-leaf.js';
import { issuerPath } from '../../src/ctlog/tiles.js';
import type { MonitorEvent } from '../../src/monitor/events.js';
import { treeHeadJson } from '../../src/monitor/rfc6962-source.js';
import { encodeElement, encodeOid, encodeSequence, tag } from '../../src/x509/der.js';
import { chain, issuerKeyHash, issuing, party, poison, signedBy, tbsOf } from '../ctlog/certificates.js';
import { newLogKey, origin } from '../ctlog/fixtures.js';

export const headTime = 1_750_000_000_000;

/** One extension, DER. */
export function extension(oid: string, value: Uint8Array): Uint8Array {
  return encodeSequence(encodeOid(oid), encodeElement(tag.octetString, value));
}

export const emailName = (address: string) => encodeElement(tag.contextPrimitive(1), Buffer.from(address));
export const san = (...names: readonly Uint8Array[]) => extension('2.5.29.17', encodeSequence(...names));
export const fulcio = (arc: number, text: string) =>
  extension(`1.3.6.1.4.1.57264.1.${arc}`, encodeElement(tag.utf8String, Buffer.from(text)));

/** What is logged: an entry, and what stands beside it. */
export interface Logged {
  readonly entry: SignedEntry;
  readonly precertificate?: Uint8Array;
}

const leaf = party('leaf');

/** The precertificate of an identity; `change` rewrites its TBSCertificate before it is signed. */
export function precert(
  extensions: readonly Uint8Array[],
  change: (tbs: Buffer) => Buffer = (tbs) => tbs,
): Logged & { precertificate: Uint8Array } {
  const precertificate = signedBy(issuing, change(tbsOf(leaf, issuing, [...extensions, poison])));
  const tbs = withoutPoison(precertificate);
  if (tbs === undefined) throw new Error('no poison');
  return { entry: { type: 'precert', issuerKeyHash, tbs }, precertificate };
}

export const of = (address: string, issuer = 'https://issuer.example') =>
  precert([san(emailName(address)), fulcio(8, issuer)]);

/** An answer instead of the log's: a body, a status, another log's answer, nothing for ever, or a body without end. */
export type Lie =
  | Uint8Array
  | string
  | FakeLog
  | { status: number; headers?: Record<string, string> }
  | 'hang'
  | 'endless';

/** A log over HTTP with both APIs, which does whatever a test wants. */
export class FakeLog {
  readonly key: KeyObject;
  readonly publicKey: KeyObject;
  readonly files = new Map<string, Uint8Array>();
  /** Asked for every request; undefined: the truth. */
  lie: (path: string) => Lie | undefined = () => undefined;
  /** Requests as they came. */
  readonly asked: string[] = [];
  url = '';
  headTime = headTime;
  #edge: Edge = emptyEdge;
  #leaves: { leafInput: Uint8Array; extraData: Uint8Array; hash: Hash }[] = [];
  #server = createServer((request, response) => void this.#answer(request, response));

  constructor(key = newLogKey()) {
    this.key = key;
    this.publicKey = createPublicKey(key);
    for (const der of chain) this.files.set(issuerPath(createHash('sha256').update(der).digest()), der);
  }

  static async start(key?: KeyObject): Promise<FakeLog> {
    const log = new FakeLog(key);
    await new Promise<void>((resolve) => log.#server.listen(0, '127.0.0.1', resolve));
    log.url = `http://127.0.0.1:${(log.#server.address() as AddressInfo).port}/log`;
    return log;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get size(): number {
    return this.#leaves.length;
  }

  /** The same entries as another log: what it was before a fork. */
  copyOf(other: FakeLog): this {
    this.#edge = other.#edge;
    this.#leaves = [...other.#leaves];
    for (const [path, bytes] of other.files) this.files.set(path, bytes);
    return this;
  }

  append(...logged: readonly Logged[]): this {
    const fingerprints = chain.map((der) => createHash('sha256').update(der).digest());
    const encoded = logged.map(({ entry, precertificate }, i) => {
      const extensions = encodeLeafIndex(this.size + i);
      const timestampedEntry = { timestamp: BigInt(headTime - 1000), entry, extensions };
      const rest = precertificate === undefined ? {} : { precertificate };
      const leafInput = encodeMerkleTreeLeaf(encodeTimestampedEntry(timestampedEntry));
      const extraData = encodeExtraData(chain, precertificate);
      return {
        tile: encodeTileLeaf({ timestampedEntry, chainFingerprints: fingerprints, ...rest }),
        raw: { leafInput, extraData, hash: leafHash(leafInput) },
      };
    });
    const grown = extendEdge(
      this.#edge,
      encoded.map(({ tile }) => tile),
    );
    this.#edge = grown.edge;
    for (const { path, parts } of grown.tiles) this.files.set(path, Buffer.concat(parts));
    this.#leaves.push(...encoded.map(({ raw }) => raw));
    this.files.set('checkpoint', this.checkpoint());
    return this;
  }

  head(size = this.size): SignedTreeHead {
    const hashes = this.#leaves.slice(0, size).map(({ hash }) => hash);
    const root = peaksRoot(appendLeaves(noPeaks, hashes, () => {}));
    return signTreeHead({ size, root, timestamp: this.headTime }, this.key);
  }

  checkpoint(head = this.head()): Uint8Array {
    return formatCheckpoint(head, { origin, keyId: noteKeyId(origin, logIdOf(this.publicKey)) });
  }

  sth(head = this.head()): string {
    return JSON.stringify(treeHeadJson(head));
  }

  readonly #read = async (level: number, index: number): Promise<Hash> => {
    const hashes = this.#leaves.slice(index * 2 ** level, (index + 1) * 2 ** level).map(({ hash }) => hash);
    return peaksRoot(appendLeaves(noPeaks, hashes, () => {}));
  };

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '').replace(/^\/log\//, '');
    this.asked.push(path);
    const lie = this.lie(path);
    if (lie === 'hang') return;
    if (lie === 'endless') {
      const chunk = Buffer.alloc(65_536, 'a');
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on('drain', more);
      return more();
    }
    if (lie instanceof FakeLog) return void response.end(await lie.#truth(path));
    if (typeof lie === 'object' && 'status' in lie) return void response.writeHead(lie.status, lie.headers).end();
    const body = lie ?? (await this.#truth(path));
    if (body === undefined) response.writeHead(404).end();
    else response.end(body);
  }

  async #truth(path: string): Promise<Uint8Array | string | undefined> {
    return this.files.get(path) ?? (await this.#rfc6962(new URL(path, 'http://log/')));
  }

  async #rfc6962({ pathname, searchParams }: URL): Promise<string | undefined> {
    const number = (name: string): number => Number(searchParams.get(name));
    const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
    if (pathname === '/ct/v1/get-sth') return this.sth();
    if (pathname === '/ct/v1/get-entries') {
      // A log gives as many as it likes: this one ten.
      const leaves = this.#leaves.slice(number('start'), Math.min(number('end') + 1, number('start') + 10));
      const entries = leaves.map((one) => ({ leaf_input: base64(one.leafInput), extra_data: base64(one.extraData) }));
      return JSON.stringify({ entries });
    }
    if (pathname === '/ct/v1/get-sth-consistency') {
      const proof = await consistencyProof(number('first'), number('second'), this.#read);
      return JSON.stringify({ consistency: proof.map(base64) });
    }
    if (pathname === '/ct/v1/get-proof-by-hash') {
      const index = this.#leaves.findIndex(({ hash }) => base64(hash) === searchParams.get('hash'));
      const path = await inclusionProof(index, number('tree_size'), this.#read);
      return JSON.stringify({ leaf_index: index, audit_path: path.map(base64) });
    }
    return undefined;
  }
}

/** What a run of the command said and did. */
export interface Ran {
  readonly code: number;
  readonly events: readonly MonitorEvent[];
  readonly out: string;
  readonly err: string;
}

export const flagDefaults = {
  type: 'auto',
  from: '0',
  interval: '5ms',
  maxAge: '24h',
  rate: '1000',
  parallel: '4',
  timeout: '2s',
  metricsHost: '127.0.0.1',
} as const;

/** Runs the command for one round, or until `signal`; pauses take no time. */
export async function monitor(
  log: { url: string },
  flags: Partial<MonitorFlags>,
  io: Partial<MonitorIo> = {},
): Promise<Ran> {
  const said = { out: '', err: '' };
  const settings = monitorSettings(log.url, { ...flagDefaults, once: true, json: true, all: true, ...flags });
  const code = await runMonitor(settings, {
    out: (text) => {
      said.out += text;
    },
    err: (text) => {
      said.err += text;
    },
    fetch,
    now: () => new Date(headTime + 60_000),
    interactive: false,
    random: () => 0.5,
    wait: async (_ms, signal) => signal.throwIfAborted(),
    signal: new AbortController().signal,
    ...io,
  });
  return { code, ...said, events: settings.json ? eventsIn(said.out) : [] };
}

export function eventsIn(lines: string): MonitorEvent[] {
  const parsed = lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as MonitorEvent);
  return parsed.filter(({ type }) => type === 'match' || type === 'inconsistency');
}
