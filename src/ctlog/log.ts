import type { KeyObject } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Cancellation } from '../cancellation.js';
import { isLogKey, signDigitally } from '../ct/digitally-signed.js';
import { encodeLeafIndex } from '../ct/leaf-index.js';
import type { CtLog, Readiness, Sct, SignSct, UnsignedSct } from '../ct/log.js';
import { sctSigningInput } from '../ct/sct.js';
import { AppError } from '../errors.js';
import { openAcceptance } from './acceptance.js';
import { type Candidate, dedupeKey } from './candidate.js';
import type { SignedTreeHead } from './checkpoint.js';
import { openDirectoryStorage } from './directory-storage.js';
import { IndexCache, type Placed } from './index-cache.js';
import { Issuers } from './issuers.js';
import { type LogReads, logReads } from './reads.js';
import { identityOf, type LogIdentity } from './recovery.js';
import { type CommitObserver, Sequencer } from './sequencer.js';
import type { LogReader, LogStorage } from './storage.js';
import { openTileReader } from './tile-reader.js';
import { type LogLogger, Writer } from './writer.js';

export interface EmbeddedLogOptions {
  /** A directory, which is locked for as long as the log is open, or another storage, which the log closes. */
  readonly storage: string | LogStorage;
  /** Directory of the rebuildable index (LMDB). */
  readonly indexDir: string;
  /** The log's private key, ECDSA P-256. */
  readonly key: KeyObject;
  /** Submission prefix without scheme and trailing slash, e.g. `ca.example.com/ctlog`; fixed for the log's life. */
  readonly origin: string;
  /** The chains whose certificates the log takes: DER, issuing CA first, root last. */
  readonly acceptedIssuers: () => readonly (readonly Uint8Array[])[];
  /** DER of the roots below which the log takes every chain; a new array when they change. */
  readonly acceptedRoots?: () => readonly Uint8Array[];
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly logger: LogLogger;
  /** Entries that may wait for the next batch; more are refused with OVERLOADED. */
  readonly maxPending?: number;
  /** Age at which an idle log's head is signed again; the MMD is 24 hours. */
  readonly resignIntervalMs?: number;
  /** Entries that one get-entries gives. */
  readonly maxEntries?: number;
  /** Rest between two publications of tiles and checkpoint; readers of `files` and `reads` need not wait for them. */
  readonly publishDelayMs?: number;
  /** How long published tiles may wait to be made durable (their stage is durable already). */
  readonly flushDelayMs?: number;
  /** Pause before a storage that failed is read again. */
  readonly reopenDelayMs?: number;
  readonly commits?: CommitObserver | undefined;
  /** How many certificate requests this process works on: a busy log waits a moment for those that will come to it. */
  readonly underWay?: () => number;
  /** That moment, after the batch before, in milliseconds. */
  readonly gatherMs?: number;
}

const noRoots: readonly Uint8Array[] = [];
const defaults = {
  acceptedRoots: () => noRoots,
  maxPending: 4096,
  resignIntervalMs: 3_600_000,
  maxEntries: 256,
  publishDelayMs: 100,
  flushDelayMs: 1000,
  reopenDelayMs: 1000,
  commits: undefined,
  underWay: () => 0,
  gatherMs: 10,
} as const;

/** Our own log: a CtLog that also takes strangers' submissions and answers readers. */
export interface EmbeddedLog extends CtLog {
  readonly publicKey: KeyObject;
  readonly origin: string;
  /** Validates and logs a final certificate with its chain (RFC 6962 Section 4.1). */
  addChain(chain: readonly Uint8Array[], signal?: Cancellation): Promise<Sct>;
  /** Validates and logs a precertificate with its chain (RFC 6962 Section 4.2). */
  addPreChain(chain: readonly Uint8Array[], signal?: Cancellation): Promise<Sct>;
  /** DER of the accepted roots. */
  roots(): readonly Uint8Array[];
  /** Where the entry with this dedupeKey is, published or about to be. */
  find(key: Uint8Array): number | undefined;
  readonly reads: LogReads;
  /** The public files: checkpoint, tiles, issuers. */
  readonly files: LogReader;
  /** The newest tree head that anybody may see. */
  treeHead(): SignedTreeHead;
  /** Entries that wait for the next batch, and how many may. */
  queue(): { readonly waiting: number; readonly limit: number };
}

/**
 * Opens our own log, recovering it first; throws AppError STARTUP when the storage is locked, damaged or another log's.
 * `submit` trusts its caller: it is for the CA that made the precertificate.
 */
export async function openEmbeddedLog(options: EmbeddedLogOptions): Promise<EmbeddedLog> {
  const identity = checkedIdentity(options);
  const { storage: given } = options;
  const storage = typeof given === 'string' ? openDirectoryStorage(given) : given;
  try {
    return await start({ ...defaults, ...options, storage }, identity);
  } catch (error) {
    await storage.close();
    throw error;
  }
}

function checkedIdentity({ key, origin }: EmbeddedLogOptions): LogIdentity {
  if (key.type !== 'private' || key.asymmetricKeyType !== 'ec' || !isLogKey(key)) {
    const found = `${key.type} ${key.asymmetricKeyType ?? ''} ${key.asymmetricKeyDetails?.namedCurve ?? ''}`.trim();
    throw new AppError('STARTUP', `the key of the log is a ${found} key; expected an ECDSA P-256 private key`);
  }
  if (!/^[^\s+/]+(\/[^\s+/]+)*$/.test(origin)) {
    const expected = 'expected host and path without scheme, spaces, "+" or trailing slash';
    throw new AppError('STARTUP', `the origin of the log is "${origin}"; ${expected}`);
  }
  return identityOf(origin, key);
}

type Settled = Required<EmbeddedLogOptions> & { readonly storage: LogStorage };

async function start(options: Settled, identity: LogIdentity): Promise<EmbeddedLog> {
  const { storage, clock, logger } = options;
  const issuers = new Issuers(storage);
  const acceptance = openAcceptance(options.acceptedIssuers, options.acceptedRoots);
  await issuers.store(options.acceptedIssuers().map((chain) => acceptance.chainOf(chain)));
  // The sequencer is made from the writer and the index, whose failures it has to hear of.
  const stop: { hear: () => void } = { hear: () => {} };
  const writer = await Writer.open({ ...options, identity, onStop: () => stop.hear() });
  const tiles = openTileReader(writer.files);
  const failed = (error: unknown) => writer.halt('the index of the log failed', error);
  const keyOf = (leaf: { timestampedEntry: { entry: Candidate['entry'] } }) => dedupeKey(leaf.timestampedEntry.entry);
  const indexOptions = { directory: options.indexDir, logId: identity.logId, logger, keyOf, failed };
  const index = await IndexCache.open(indexOptions, writer.head.size, tiles);
  const sequencer = new Sequencer({ ...options, writer, index, issuers, tiles, clock });
  stop.hear = () => sequencer.scheduleReopen();
  if (writer.stopped) sequencer.scheduleReopen();

  const promise = promiser(sequencer, identity);
  const reads = logReads({ published: () => writer.head, tiles, index, issuers, maxEntries: options.maxEntries });
  return {
    name: identity.origin,
    origin: identity.origin,
    logId: identity.logId,
    publicKey: identity.publicKey,
    async submit({ precertificate, chain, tbs, issuerKeyHash }, signal, sign) {
      const entry = { type: 'precert', issuerKeyHash, tbs } as const;
      return promise({ entry, precertificate, issuers: acceptance.chainOf(chain) }, signal, sign);
    },
    addChain: async (chain, signal) => promise(acceptance.check('x509', chain), signal),
    addPreChain: async (chain, signal) => promise(acceptance.check('precert', chain), signal),
    roots: () => acceptance.roots(),
    find: (key) => index.find(key)?.index,
    reads,
    files: writer.files,
    treeHead: () => writer.head,
    queue: () => ({ waiting: sequencer.waiting, limit: options.maxPending }),
    readiness: (): Readiness => writer.readiness(),
    close: once(() => closeAll([sequencer, writer, index, storage])),
  };
}

/** From a candidate to its SCT. */
function promiser(sequencer: Sequencer, identity: LogIdentity) {
  return async (candidate: Candidate, signal: Cancellation | undefined, sign?: SignSct): Promise<Sct> => {
    const here = (at: Placed): Sct => signSct(candidate, unsignedSct(at, identity), identity);
    let early: Promise<Sct> | undefined;
    const placed = sequencer.add(candidate, (at) => {
      // Signed while the batch is being written; it leaves this function only after the commit.
      early =
        sign === undefined ? nextTurn().then(() => here(at)) : signedBy(sign, unsignedSct(at, identity), identity);
      early.catch(() => {});
    });
    const signed = placed.then((at) => early?.catch(() => here(at)) ?? here(at));
    return abortable(signed, signal);
  };
}

function unsignedSct({ index, timestamp }: Placed, { logId }: LogIdentity): UnsignedSct {
  return { logId, timestamp: BigInt(timestamp), extensions: encodeLeafIndex(index) };
}

async function signedBy(sign: SignSct, sct: UnsignedSct, { privateKey }: LogIdentity): Promise<Sct> {
  return withSignature(sct, await sign(sct, privateKey));
}

function withSignature({ logId, timestamp, extensions }: UnsignedSct, signature: Uint8Array): Sct {
  return { logId, timestamp, extensions, signature };
}

/** In this thread: P-256 takes 25 µs, and the way to libuv's pool and back as much again. */
function signSct({ entry }: Candidate, sct: UnsignedSct, { privateKey }: LogIdentity): Sct {
  return withSignature(sct, signDigitally(sctSigningInput(entry, sct.timestamp, sct.extensions), privateKey));
}

/** Ends the wait, not the work: the entry may still be logged. */
function abortable<T>(work: Promise<T>, signal: Cancellation | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      reject(new AppError('CT_LOG_UNAVAILABLE', 'the log did not answer in time', { retryAfterSeconds: 2 }));
    };
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort);
    const settled = (settle: () => void): void => {
      signal.removeEventListener('abort', abort);
      settle();
    };
    work.then(
      (value) => settled(() => resolve(value)),
      (error: unknown) => settled(() => reject(error)),
    );
  });
}

/** Closes in order, all of them even if one fails, and then throws the first failure. */
async function closeAll(parts: readonly { close(): Promise<void> }[]): Promise<void> {
  const failures: unknown[] = [];
  for (const part of parts) await part.close().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

function once(action: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= action();
    return done;
  };
}
