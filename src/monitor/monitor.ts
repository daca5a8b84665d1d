import type { KeyObject } from 'node:crypto';
import { logIdOf } from '../ct/sct.js';
import { CheckpointError, type SignedTreeHead } from '../ctlog/checkpoint.js';
import { noPeaks, type Peaks } from '../ctlog/merkle.js';
import { catchUp, requireInTree } from './catch-up.js';
import type { Delivery } from './delivery.js';
import { looksLikeHead } from './detect.js';
import { inconsistencyEvent, type LogName, type MonitorEvent } from './events.js';
import { BadAnswer, type Finding, type FindingKind, Inconsistency, Unavailable } from './finding.js';
import { compareHeads, timeFindings } from './judge-head.js';
import type { Matcher } from './matcher.js';
import { comparePeer, type Peer } from './peer.js';
import type { LogHead, LogSource } from './source.js';
import type { LogState, StateFile } from './state.js';
import { Told } from './told.js';

export interface MonitorOptions {
  readonly source: LogSource;
  readonly logKey: KeyObject;
  /** Undefined: what the first checkpoint names, and the same ever after. */
  readonly origin: string | undefined;
  readonly matcher: Matcher;
  /** Certificates of issuing CAs, DER, that are believed before those of the log. */
  readonly cas: readonly Uint8Array[];
  /** Hash of the criteria. */
  readonly criteria: string;
  readonly state: StateFile;
  readonly delivery: Delivery;
  readonly peers: readonly Peer[];
  /** Entry to begin with when nothing is remembered of the log; `now` for what comes. */
  readonly from: number | 'now';
  /** A head that is older, in milliseconds, is stale. */
  readonly maxAgeMs: number;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly progress: (checked: number, total: number) => void;
  /** What the operator should know and is no fault of the log's. */
  readonly note: (text: string) => void;
  /** Told every finding, also one that was delivered before. */
  readonly onFinding: (finding: Finding, known: boolean) => void;
  readonly onCommit: (done: number, events: readonly MonitorEvent[]) => void;
}

/** What one round did. */
export interface RoundResult {
  /** The head that is believed now; undefined when there never was one. */
  readonly head: SignedTreeHead | undefined;
  /** Entries checked up to here. */
  readonly done: number;
  readonly entries: number;
  readonly matches: number;
  /** What was found wrong with the log. */
  readonly kinds: ReadonlySet<FindingKind>;
  /** Why the round could not be finished. */
  readonly unavailable: string | undefined;
}

/** Follows one log, a round at a time. */
export class Monitor {
  readonly #options: MonitorOptions;
  readonly #log: LogName;
  readonly #told: Told;
  /** Of this round, about the log as a whole. */
  #findings: Finding[] = [];
  #kinds = new Set<FindingKind>();
  #counts = { entries: 0, matches: 0 };

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#log = { id: logIdOf(options.logKey), url: options.source.url };
    this.#told = new Told(this.#log.id, this.#state?.told ?? []);
    const { criteria } = options;
    const known = this.#state;
    if (known !== undefined && known.criteria !== criteria) {
      options.note(
        `other certificates are looked for than before: entries below ${known.done.size} are not read again`,
      );
    }
  }

  get #state(): LogState | undefined {
    return this.#options.state.get(this.#log.id);
  }

  /** The last head that was found consistent. */
  get head(): SignedTreeHead | undefined {
    return this.#state?.head;
  }

  /** Asks for a head, compares it, and goes through the new entries. Rejects only for what is wrong on this side. */
  async round(): Promise<RoundResult> {
    this.#findings = [];
    this.#kinds = new Set();
    this.#counts = { entries: 0, matches: 0 };
    let unavailable: string | undefined;
    try {
      await this.#follow();
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      unavailable = error.message;
    }
    if (unavailable === undefined) await this.#remember({ told: this.#told.endRound(this.#findings) });
    const state = this.#state;
    const base = { head: state?.head, done: state?.done.size ?? 0, ...this.#counts };
    return { ...base, kinds: this.#kinds, unavailable };
  }

  async #follow(): Promise<void> {
    try {
      const head = await this.#nextHead();
      if (head === undefined) return;
      await this.#catchUp(head);
      for (const peer of this.#options.peers) await this.#compare(peer, head);
    } catch (error) {
      if (error instanceof Inconsistency) await this.#report(error.finding);
      else if (error instanceof BadAnswer) await this.#report(malformed(error.message));
      else throw error;
    }
  }

  /** The head to follow: the log's newest, or the known one when that is larger; undefined when there is none to believe. */
  async #nextHead(): Promise<SignedTreeHead | undefined> {
    const { source, clock, maxAgeMs } = this.#options;
    const opened = await this.#openHead(await source.fetchHead());
    const state = this.#state;
    if (opened === undefined) return state?.head;
    const { head } = opened;
    for (const finding of timeFindings(head, clock(), maxAgeMs)) await this.#report(finding);
    if (state === undefined) return await this.#begin(opened);
    const backwards = await compareHeads(state.head, head, source);
    if (backwards !== undefined) await this.#report(backwards);
    if (head.size < state.head.size || head.timestamp < state.head.timestamp) return state.head;
    await this.#remember({ head, origin: opened.origin, url: source.url });
    return head;
  }

  async #openHead(bytes: Uint8Array): Promise<LogHead | undefined> {
    const { source, logKey } = this.#options;
    if (!looksLikeHead(source.type, bytes)) throw new BadAnswer('what it gives for a head is none');
    try {
      return source.openHead(bytes, logKey, this.#options.origin ?? this.#state?.origin);
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      await this.#report({
        kind: 'wrong-signature',
        key: 'head',
        expected: "a head signed with the log's key",
        found: error.message,
        evidence: { head: Buffer.from(bytes.subarray(0, 4096)).toString('base64') },
      });
      return undefined;
    }
  }

  /** Where nothing is remembered: the beginning of the log, an entry, or its end. */
  async #begin({ head, origin }: LogHead): Promise<SignedTreeHead> {
    const { source, from, criteria, state, note } = this.#options;
    const size = from === 'now' ? head.size : from;
    if (size > head.size) throw new Unavailable(`--from ${size}: the log has ${head.size} entries so far`);
    const tree = source.tree(head);
    const done: Peaks = size === 0 ? noPeaks : await tree.peaks(size);
    await requireInTree(done, head, tree, 0);
    const hint = from === 'now' ? ' (--from 0 for all of them)' : '';
    const entries = head.size === 1 ? 'one entry' : `${head.size} entries`;
    note(`nothing is remembered of this log, which has ${entries}: it is followed from entry ${size} on${hint}`);
    const told = this.#told.list();
    await state.set(this.#log.id, { url: source.url, origin, head, done, deliveringTo: size, criteria, told });
    return head;
  }

  async #catchUp(head: SignedTreeHead): Promise<void> {
    const { source, matcher, cas, clock, progress, onCommit, delivery, criteria } = this.#options;
    const state = this.#state;
    if (state === undefined) return;
    const tree = source.tree(head);
    if (state.done.size === head.size) return requireInTree(state.done, head, tree, 0);
    // What lies below was being delivered when the monitor was stopped.
    const repeatedTo = state.deliveringTo;
    const commit = async (done: Peaks, all: readonly MonitorEvent[]): Promise<void> => {
      const events = all.map((event) =>
        (event.index ?? 0) < repeatedTo ? { ...event, repeated: true as const } : event,
      );
      for (const event of events) {
        if (event.type === 'inconsistency') this.#note({ ...event, key: event.id }, false);
      }
      if (events.length > 0) await this.#remember({ deliveringTo: Math.max(repeatedTo, done.size) });
      await delivery.deliver(events);
      await this.#remember({ done, deliveringTo: Math.max(repeatedTo, done.size), criteria });
      this.#counts.entries = done.size - state.done.size;
      this.#counts.matches += events.filter(({ type }) => type === 'match').length;
      onCommit(done.size, events);
    };
    await catchUp({ log: this.#log, tree, head, done: state.done, matcher, cas, clock, commit, progress });
  }

  async #compare(peer: Peer, head: SignedTreeHead): Promise<void> {
    const { source, logKey, note } = this.#options;
    const outcome = await comparePeer(peer, head, source, logKey);
    if (typeof outcome === 'string') note(outcome);
    else if (outcome !== undefined) await this.#report(outcome);
  }

  /** Tells what is wrong with the log, once. */
  async #report(finding: Finding): Promise<void> {
    const { clock, delivery } = this.#options;
    const known = this.#told.has(finding);
    this.#note(finding, known);
    if (known) return;
    const event = inconsistencyEvent(this.#log, finding, clock());
    const repeated = this.#told.wasBegun(finding) ? { repeated: true as const } : {};
    await this.#remember({ told: this.#told.begin(finding) });
    await delivery.deliver([{ ...event, ...repeated }]);
    await this.#remember({ told: this.#told.add(finding) });
  }

  #note(finding: Finding, known: boolean): void {
    this.#kinds.add(finding.kind);
    // Those of entries are told with their segment, and a log may have any number of them.
    if (finding.index === undefined) this.#findings.push(finding);
    this.#options.onFinding(finding, known);
  }

  async #remember(change: Partial<LogState>): Promise<void> {
    const state = this.#state;
    if (state === undefined) return;
    const next = { ...state, ...change };
    if (JSON.stringify(next) !== JSON.stringify(state)) await this.#options.state.set(this.#log.id, next);
  }
}

function malformed(message: string): Finding {
  return { kind: 'malformed-answer', key: 'answer', expected: "an answer of the log's API", found: message };
}
