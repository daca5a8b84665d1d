import type { KeyObject } from 'node:crypto';
import { type LogTransport, logTransport } from '../ct/log-transport.js';
import { messageOf } from '../errors.js';
import { consistencyProof } from './merkle.js';
import type { LogStorage } from './storage.js';
import { openTileReader } from './tile-reader.js';
import { WitnessError, type WitnessedHead, witnessClient } from './witness-client.js';
import { checkpointKey, formatVerifierKey, noteBody } from './witness-note.js';
import type { Witness, WitnessPolicy } from './witness-policy.js';
import type { LogLogger } from './writer.js';

export interface WitnessingOptions {
  readonly policy: WitnessPolicy;
  readonly origin: string;
  /** The log's private key, ECDSA P-256. */
  readonly key: KeyObject;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly logger: LogLogger;
  /** Told how each question to a witness ended: `cosigned` or a WitnessFailure. */
  readonly onAnswer?: (witness: string, result: string) => void;
  readonly transport?: LogTransport;
  /** Bound of one question to a witness. */
  readonly timeoutMs?: number;
  /** Least time from one checkpoint sent to witnesses to the next: they are other people's machines. */
  readonly intervalMs?: number;
}

/** A log's storage whose published checkpoints are cosigned. */
export interface WitnessedStorage extends LogStorage {
  /** The verifier key that witnesses have to know the log by. */
  readonly verifierKey: string;
  /** What `publish` would make of this checkpoint now. */
  shown(checkpoint: Uint8Array): Uint8Array;
  /** The newest checkpoint that a quorum cosigned, and its size. */
  witnessed(): { readonly checkpoint: Uint8Array; readonly size: number } | undefined;
}

/** A published checkpoint and who cosigned its body. */
interface Target extends WitnessedHead {
  /** As the writer signed it. */
  readonly checkpoint: Uint8Array;
  /** What signatures cover: the same for a tree head that was only signed again. */
  readonly body: string;
  /** Signature lines by the witness's name in the policy. */
  readonly lines: Map<string, string>;
}

/** A witness and how it is doing. */
interface Asked {
  readonly witness: Witness;
  readonly client: ReturnType<typeof witnessClient>;
  busy: boolean;
  failures: number;
  /** What the operator was told of it last. */
  told: string | undefined;
  /** Not asked before, in milliseconds since the epoch. */
  notBefore: number;
}

const defaults = { timeoutMs: 5000, intervalMs: 1000 };
const maxPauseMs = 60_000;

/**
 * `storage`, with the checkpoints it publishes cosigned by witnesses (c2sp.org/tlog-witness), in the background and never
 * in the way of the writer: a checkpoint is published at once, with the log's own two signatures, and again with the
 * cosignatures as soon as the policy's quorum has given them, if it is still the newest. What is committed never holds
 * them. Publications of both kinds are one after the other, so an older one never replaces a newer one.
 *
 * Failures of witnesses are told to the operator and tried again, after 1 s to a minute; nothing waits for them.
 */
export function withWitnesses(storage: LogStorage, options: WitnessingOptions): WitnessedStorage {
  return new Witnessing(storage, options);
}

class Witnessing implements WitnessedStorage {
  readonly name: string;
  readonly verifierKey: string;
  readonly #storage: LogStorage;
  readonly #options: WitnessingOptions & typeof defaults;
  readonly #ownLine: (body: string) => string;
  readonly #transport: LogTransport;
  readonly #asked: readonly Asked[];
  readonly #closing = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  #publishing: Promise<void> = Promise.resolve();
  #newest: Target | undefined;
  #witnessed: { checkpoint: Uint8Array; size: number } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #roundAt = Number.NEGATIVE_INFINITY;
  #hadQuorum: boolean | undefined;

  constructor(storage: LogStorage, options: WitnessingOptions) {
    const { policy, origin, key, clock, transport = logTransport({}) } = options;
    this.name = storage.name;
    this.#storage = storage;
    this.#options = { ...defaults, ...options };
    this.#transport = transport;
    const own = checkpointKey(origin, key);
    this.verifierKey = formatVerifierKey(own.verifier);
    this.#ownLine = own.line;
    const { timeoutMs } = this.#options;
    this.#asked = policy.witnesses.map((witness) => ({
      witness,
      client: witnessClient({ witness, transport, clock, timeoutMs }),
      busy: false,
      failures: 0,
      told: undefined,
      notBefore: Number.NEGATIVE_INFINITY,
    }));
  }

  witnessed() {
    return this.#witnessed;
  }

  async publish(checkpoint: Uint8Array): Promise<void> {
    const target = this.#target(checkpoint);
    await this.#inTurn(async () => {
      // Before the attempt: one that fails may have happened, and nothing older must be published after it.
      this.#newest = target;
      await this.#storage.publish(this.#compose(target));
    });
    if (target.size > 0) this.#wake();
  }

  /** With the cosignatures that there are by now; a checkpoint that is still to be published has none. */
  shown = (checkpoint: Uint8Array): Uint8Array => {
    const newest = this.#newest;
    const same = newest !== undefined && Buffer.compare(newest.checkpoint, checkpoint) === 0;
    return this.#compose(same ? newest : this.#target(checkpoint));
  };

  loadCheckpoint = () => this.#storage.loadCheckpoint();
  replaceCheckpoint = (expected: Uint8Array | undefined, next: Uint8Array) =>
    this.#storage.replaceCheckpoint(expected, next);
  stage = (name: string, bytes: Uint8Array) => this.#storage.stage(name, bytes);
  listStages = () => this.#storage.listStages();
  fetchStage = (name: string) => this.#storage.fetchStage(name);
  discardStages = (names: readonly string[], durable: boolean) => this.#storage.discardStages(names, durable);
  upload = (path: string, bytes: Uint8Array) => this.#storage.upload(path, bytes);
  flush = (paths: Iterable<string>) => this.#storage.flush(paths);
  discardPartials = (directories: Iterable<string>) => this.#storage.discardPartials(directories);
  fetch = (path: string) => this.#storage.fetch(path);

  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    await Promise.all(this.#underWay);
    await this.#publishing;
    this.#transport.close();
    await this.#storage.close();
  }

  #target(checkpoint: Uint8Array): Target {
    const signed = Buffer.from(checkpoint).toString('utf8');
    const body = noteBody(signed);
    const size = Number(body.split('\n')[1]);
    const proofFrom = (oldSize: number) =>
      consistencyProof(oldSize, size, openTileReader(this.#storage, 0).nodes(size));
    const lines = this.#newest?.body === body ? this.#newest.lines : new Map<string, string>();
    return { size, checkpoint, body, note: signed + this.#ownLine(body), proofFrom, lines };
  }

  #compose({ note, lines }: Target): Uint8Array {
    return Buffer.from(this.#hasQuorum(lines) ? note + [...lines.values()].join('') : note);
  }

  #hasQuorum(lines: ReadonlyMap<string, string>): boolean {
    return this.#options.policy.satisfiedBy(new Set(lines.keys()));
  }

  #inTurn(step: () => Promise<void>): Promise<void> {
    const turn = this.#publishing.then(step);
    this.#publishing = turn.catch(() => {});
    return turn;
  }

  /** Starts the next round as soon as it is time and somebody is left to ask. */
  #wake(): void {
    clearTimeout(this.#timer);
    const target = this.#newest;
    if (this.#closing.signal.aborted || target === undefined || target.size === 0) return;
    const waiting = this.#asked.filter(({ busy, witness }) => !busy && !target.lines.has(witness.name));
    if (waiting.length === 0) return;
    const now = this.#options.clock();
    const next = Math.max(this.#roundAt + this.#options.intervalMs, Math.min(...waiting.map((one) => one.notBefore)));
    // A clock that stepped back must not stretch the wait.
    const waitMs = Math.min(next - now, maxPauseMs);
    if (waitMs > 0) {
      this.#timer = setTimeout(() => this.#wake(), waitMs).unref();
      return;
    }
    this.#roundAt = now;
    for (const one of waiting) if (one.notBefore <= now) this.#track(this.#ask(one, target));
  }

  #track(work: Promise<void>): void {
    const settled = work.finally(() => {
      this.#underWay.delete(settled);
      this.#wake();
    });
    this.#underWay.add(settled);
  }

  /** Never rejects. */
  async #ask(asked: Asked, target: Target): Promise<void> {
    const { witness, client } = asked;
    const { clock, logger, onAnswer = () => {} } = this.#options;
    asked.busy = true;
    try {
      const line = await client.cosign(target, this.#closing.signal);
      if (asked.failures > 0) logger.info({ witness: witness.name }, `the witness ${witness.name} cosigns again`);
      [asked.failures, asked.told] = [0, undefined];
      asked.notBefore = Number.NEGATIVE_INFINITY;
      onAnswer(witness.name, 'cosigned');
      target.lines.set(witness.name, line);
      await this.#accept(target);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      asked.failures += 1;
      asked.notBefore = clock() + Math.min(1000 * 2 ** (asked.failures - 1), maxPauseMs);
      const failure = error instanceof WitnessError ? error.failure : 'unavailable';
      onAnswer(witness.name, failure);
      this.#tellFailure(asked, failure, error);
    } finally {
      asked.busy = false;
      this.#tellQuorum(target);
    }
  }

  /** A quorum is worth keeping even when the log has grown since; it is published if it has not. */
  async #accept(target: Target): Promise<void> {
    if (!this.#hasQuorum(target.lines)) return;
    const checkpoint = this.#compose(target);
    if (target.size >= (this.#witnessed?.size ?? 0)) this.#witnessed = { checkpoint, size: target.size };
    await this.#inTurn(async () => {
      if (this.#newest === target) await this.#storage.publish(checkpoint);
    }).catch((error: unknown) => {
      this.#options.logger.warn({ err: error }, `cosignatures could not be published: ${messageOf(error)}`);
    });
  }

  #tellFailure(asked: Asked, failure: string, error: unknown): void {
    const { logger } = this.#options;
    const { witness, told } = asked;
    asked.told = failure;
    const entry = { witness: witness.name, url: witness.url, reason: failure, err: error };
    const text = `the witness ${witness.name} did not cosign: ${messageOf(error)}`;
    // A witness that knows another history is news each time; one that is down is news once.
    if (failure === 'conflict') logger.error(entry, text);
    else if (failure !== told) logger.warn(entry, text);
  }

  /** Called when a question has ended: says when a quorum is missing, and when it is back. */
  #tellQuorum(target: Target): void {
    const has = this.#hasQuorum(target.lines);
    if (has === this.#hadQuorum || (!has && this.#asked.some(({ busy }) => busy))) return;
    const { logger } = this.#options;
    const first = this.#hadQuorum === undefined;
    this.#hadQuorum = has;
    if (!has) {
      logger.warn({ size: target.size }, 'the checkpoint is published without a quorum of witnesses; issuance goes on');
    } else if (!first) logger.info({ size: target.size }, 'a quorum of witnesses cosigns the checkpoint again');
  }
}
