import { createPublicKey } from 'node:crypto';
import type { Server } from 'node:http';
import { type DirectoryLock, tryLockFile } from '../ctlog/directory-lock.js';
import { AppError, messageOf } from '../errors.js';
import { listen, urlHost } from '../listen.js';
import { type LogClient, openLogClient } from '../monitor/client.js';
import { Delivery, type Sink } from '../monitor/delivery.js';
import { findLog, keyOfLog } from '../monitor/detect.js';
import type { MonitorEvent } from '../monitor/events.js';
import { BadAnswer, exitCodeOf, type FindingKind, Unavailable } from '../monitor/finding.js';
import { createMonitorMetrics, createMonitorServer, type MonitorMetrics } from '../monitor/metrics.js';
import { Monitor, type RoundResult } from '../monitor/monitor.js';
import { openOutputFile } from '../monitor/output-file.js';
import { memoryState, openStateFile, StateDamaged, type StateFile } from '../monitor/state.js';
import { webhookSink } from '../monitor/webhook.js';
import type { MonitorSettings } from './monitor-options.js';
import { catchUpProgress } from './monitor-progress.js';
import { eventText, printable } from './monitor-text.js';
import type { CommandIo } from './request-io.js';

/** Exit codes beside those of findings: the log could not be read or an event not be delivered; the state is damaged. */
export const exitCodes = { unavailable: 1, stateDamaged: 3 } as const;

export interface MonitorIo extends Pick<CommandIo, 'out' | 'err' | 'fetch' | 'now' | 'interactive'> {
  readonly random: () => number;
  /** Resolves after so many milliseconds; rejects when the signal comes first. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<unknown>;
  /** Ends the monitor after what is under way. */
  readonly signal: AbortSignal;
}

/** Follows the log until the signal, or for one round; resolves with the exit code. Throws AppError STARTUP. */
export async function runMonitor(settings: MonitorSettings, io: MonitorIo): Promise<number> {
  const closing: (() => unknown)[] = [];
  try {
    return await new Run(settings, io, closing).run();
  } catch (error) {
    if (io.signal.aborted) return 0;
    if (!(error instanceof StateDamaged)) throw error;
    io.err(`mayfly: ${error.message}\n`);
    return exitCodes.stateDamaged;
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

class Run {
  readonly #settings: MonitorSettings;
  readonly #io: MonitorIo;
  readonly #closing: (() => unknown)[];
  readonly #metrics: MonitorMetrics = createMonitorMetrics();
  readonly #found = new Set<FindingKind>();
  readonly #progress: ReturnType<typeof catchUpProgress>;
  #monitor: Monitor | undefined;
  /** What was noted in this round and the one before, so that a peer that is down for a day is one line. */
  #notes = { before: new Set<string>(), now: new Set<string>() };
  #unavailable = false;

  constructor(settings: MonitorSettings, io: MonitorIo, closing: (() => unknown)[]) {
    this.#settings = settings;
    this.#io = io;
    this.#closing = closing;
    this.#progress = catchUpProgress({ err: io.err, interactive: io.interactive, clock: this.#clock });
  }

  readonly #clock = (): number => this.#io.now().getTime();
  readonly #wait = (ms: number): Promise<unknown> => this.#io.wait(ms, this.#io.signal);
  readonly #note = (text: string): void => {
    this.#progress.end();
    const { before, now } = this.#notes;
    if (!before.has(text) && !now.has(text)) this.#io.err(`mayfly monitor: ${printable(text)}\n`);
    now.add(text);
  };

  async run(): Promise<number> {
    const { once, intervalMs } = this.#settings;
    const state = await this.#openState();
    const delivery = await this.#openDelivery();
    await this.#serve();
    for (;;) {
      const result = await this.#round(state, delivery);
      if (once) return this.#codeOf(result);
      if (this.#io.signal.aborted) return exitCodeOf(this.#found);
      // Monitors of one log do not all ask at the same moment.
      const pauseMs = intervalMs * (0.9 + this.#io.random() / 5);
      if (
        await this.#wait(pauseMs).then(
          () => false,
          () => true,
        )
      )
        return exitCodeOf(this.#found);
    }
  }

  /** Undefined when the log could not be had, or the monitor is to stop. */
  async #round(state: StateFile, delivery: Delivery): Promise<RoundResult | undefined> {
    try {
      this.#monitor ??= await this.#open(state, delivery);
      const result = await this.#monitor.round();
      this.#metrics.round(result, this.#clock());
      this.#sayRound(result);
      return result;
    } catch (error) {
      if (this.#io.signal.aborted) return undefined;
      if (!(error instanceof Unavailable) && !(error instanceof BadAnswer)) throw error;
      this.#note(error.message);
      this.#unavailable = true;
      return undefined;
    } finally {
      this.#notes = { before: this.#notes.now, now: new Set() };
      this.#progress.end();
    }
  }

  #sayRound({ head, done, entries, matches, kinds: found, unavailable }: RoundResult): void {
    const { once, json } = this.#settings;
    if (unavailable !== undefined) this.#note(unavailable);
    else if (this.#unavailable) this.#note('it goes on: the log answers, and what was found is delivered');
    this.#unavailable = unavailable !== undefined;
    if (!once) return;
    const kinds = [...found];
    if (json) {
      const summary = { type: 'summary', treeSize: head?.size ?? null, checked: done, entries, matches };
      this.#io.out(`${JSON.stringify({ ...summary, inconsistencies: kinds, complete: unavailable === undefined })}\n`);
      return;
    }
    const wrong = kinds.length === 0 ? 'nothing inconsistent' : `INCONSISTENT: ${kinds.join(', ')}`;
    const size = head === undefined ? 'no head' : `${done} of ${head.size} entries checked`;
    this.#io.err(`mayfly monitor: ${size}, ${entries} new, ${matches} matching; ${wrong}\n`);
  }

  #codeOf(result: RoundResult | undefined): number {
    const code = exitCodeOf(this.#found);
    if (code !== 0) return code;
    return result === undefined || result.unavailable !== undefined ? exitCodes.unavailable : 0;
  }

  #clientOf = (url: string): LogClient => {
    const { timeoutMs, requestsPerSecond, parallel } = this.#settings;
    return openLogClient({
      url,
      fetch: this.#io.fetch,
      clock: this.#clock,
      wait: this.#wait,
      random: this.#io.random,
      timeoutMs,
      requestsPerSecond,
      parallel,
      signal: this.#io.signal,
      onAnswer: (status) => this.#metrics.requests.inc({ status }),
    });
  };

  async #open(state: StateFile, delivery: Delivery): Promise<Monitor> {
    const { url, type, keys, criteria, criteriaHash, peers } = this.#settings;
    const source = await findLog(url, type, this.#clientOf);
    const logKey = keyOfLog(source, await source.fetchHead(), keys);
    const [first] = keys;
    if (first === undefined) throw new AppError('STARTUP', 'no key of the log is known');
    this.#note(`${source.url} (${source.type}); ${this.#lookingFor()}`);
    return new Monitor({
      ...this.#settings,
      source,
      logKey: logKey ?? createPublicKey({ key: Buffer.from(first), format: 'der', type: 'spki' }),
      cas: criteria.cas,
      criteria: criteriaHash,
      state,
      delivery,
      peers: peers.map((peer) => ({ url: peer, client: this.#clientOf(peer) })),
      clock: this.#clock,
      progress: this.#progress.update,
      note: this.#note,
      onFinding: ({ kind, expected, found }, known) => {
        this.#found.add(kind);
        if (known) this.#note(`still inconsistent: ${kind}: expected ${expected}; found ${found}`);
        else this.#metrics.inconsistencies.inc({ kind });
      },
      onCommit: (done, events) => {
        this.#metrics.checked.set(done);
        this.#metrics.matches.inc(events.filter((event) => event.type === 'match').length);
      },
    });
  }

  #lookingFor(): string {
    const { identities, issuers, extensions, cas, all } = this.#settings.criteria;
    if (all) return 'every certificate is shown';
    const parts = [
      identities.length > 0 ? 'identity' : '',
      issuers.length > 0 ? 'issuer' : '',
      ...Object.keys(extensions),
      cas.length > 0 ? 'issuing CA' : '',
    ].filter((part) => part !== '');
    return parts.length === 0
      ? 'no certificates are looked for, only inconsistencies (--identity, --issuer, --extension, --issuing-ca, --all)'
      : `certificates are looked for by ${parts.join(' and ')}`;
  }

  async #openState(): Promise<StateFile> {
    const { statePath, once } = this.#settings;
    if (statePath === undefined) {
      if (once)
        this.#note('without --state nothing is remembered until the next run, so nothing can be compared with it');
      return memoryState();
    }
    const lock = this.#lock(statePath);
    this.#closing.push(() => lock.release());
    return openStateFile(statePath);
  }

  #lock(path: string): DirectoryLock {
    let lock: DirectoryLock | undefined;
    try {
      lock = tryLockFile(`${path}.lock`);
    } catch (cause) {
      throw new AppError('STARTUP', `--state: cannot lock ${path}.lock: ${messageOf(cause)}`, { cause });
    }
    if (lock !== undefined) return lock;
    throw new AppError('STARTUP', `--state: ${path} is in use by another monitor; expected a file for each`);
  }

  async #openDelivery(): Promise<Delivery> {
    const { json, output, webhook: url, webhookSecret: secret } = this.#settings;
    const show = json ? (event: MonitorEvent): string => `${JSON.stringify(event)}\n` : eventText;
    const terminal: Sink = {
      name: 'terminal',
      deliver: async (event) => {
        this.#progress.end();
        this.#io.out(show(event));
      },
      close: async () => {},
    };
    const sinks = [terminal];
    if (output !== undefined) sinks.push(await openOutputFile(output, this.#note));
    if (url !== undefined) {
      const { fetch, random, signal } = this.#io;
      sinks.push(webhookSink({ url, secret, fetch, random, signal, clock: this.#clock, wait: this.#wait }));
    }
    const delivery = new Delivery(sinks, (sink, result) => this.#metrics.deliveries.inc({ sink, result }));
    this.#closing.push(() => delivery.close());
    return delivery;
  }

  async #serve(): Promise<void> {
    const { metricsPort, metricsHost } = this.#settings;
    if (metricsPort === undefined) return;
    const server: Server = createMonitorServer(this.#metrics.registry, () => this.#monitor?.head);
    const port = await listen(server, metricsHost, metricsPort, '--metrics-port');
    this.#closing.push(() => {
      server.close();
      server.closeAllConnections();
    });
    this.#note(`metrics at http://${urlHost(metricsHost)}:${port}/metrics, the last head at /head`);
  }
}
