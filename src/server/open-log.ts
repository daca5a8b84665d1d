import { basename, dirname } from 'node:path';
import type { Router } from 'express';
import { type CtLogChoice, readCtLogsFile } from '../config/ct-logs.js';
import type { ServeConfig } from '../config/serve.js';
import { checkAcceptedRoots } from '../ct/accepted-roots.js';
import type { CtLog, CtLogs } from '../ct/log.js';
import { type LogSet, openLogSet } from '../ct/log-set.js';
import type { EmbeddedLog } from '../ctlog/log.js';
import { AppError, messageOf } from '../errors.js';
import { watchDirectory } from './identity-source.js';
import { daily, tellCoverage } from './log-coverage.js';
import { type Member, type OpenLogDeps, openMember, publishedExternal } from './log-members.js';
import { type LogRecord, openLogRecord } from './log-record.js';
import type { EntrySearch } from './log-shards.js';
import type { PublishedLog } from './trust.js';

export { type OpenLogDeps, publishedExternal };

export interface OpenedLogs {
  /** Undefined when the operator turned CT off. Its name and members change with a reload. */
  readonly ctLog: CtLogs | undefined;
  /** The reading and submitting endpoints by path, such as `/ctlog`; only our own log has them here. */
  readonly routes: ReadonlyMap<string, Router>;
  /** The logs in use, one by one. */
  each(): readonly Pick<CtLog, 'name' | 'readiness'>[];
  /** Our own logs for the page, by name; the one in use first. */
  readonly readable: ReadonlyMap<string, EmbeddedLog>;
  /** Every log whose SCTs a certificate may carry, or has carried before. */
  published(): readonly PublishedLog[];
  /** Time of our own log's tree head, in milliseconds since the epoch. */
  readonly treeHeadTime?: () => number;
  /** Looks an entry up by its dedupeKey in our own logs; external logs cannot be asked. */
  findEntry(key: Uint8Array): EntrySearch;
  /** `action` is done before logs that a reload brings are used: clients have to know them first. */
  beforeChange(action: () => Promise<void>): void;
  /** Reads --ct-logs-config again; a bad one is refused with a log line and the old logs stay. Never rejects. */
  reload(why: string): Promise<void>;
  close(): Promise<void>;
}

type Several = Extract<CtLogChoice, { kind: 'several' }>;

/** The logs in use, all of one reading of the settings. */
interface Generation {
  readonly members: readonly Member[];
  readonly required: number;
  readonly set: LogSet;
}

/**
 * Opens the logs the settings name, and keeps record of those whose SCTs are embedded. External logs are asked for their
 * roots in the background, and the operator is told what they answer. Throws AppError STARTUP.
 */
export async function openLog(config: ServeConfig, deps: OpenLogDeps): Promise<OpenedLogs> {
  const record = await openLogRecord(config.dataDir, deps.clock);
  const choice = config.ctLog;
  if (choice.kind === 'none') return noLogs(record);
  const several: Several =
    choice.kind === 'several' ? choice : { kind: 'several', logs: [{ kind: 'embedded', embed: true }], required: 1 };
  const logs = new Logs(config, deps, record, await openGeneration(several, config, deps));
  try {
    await logs.start(several);
    return logs;
  } catch (error) {
    await logs.close();
    throw error;
  }
}

async function noLogs(record: LogRecord): Promise<OpenedLogs> {
  await record.update([]);
  const nothing = async (): Promise<void> => {};
  const published = () => record.list();
  const findEntry = (): EntrySearch => ({ found: [], complete: false });
  return {
    ctLog: undefined,
    routes: new Map(),
    readable: new Map(),
    each: () => [],
    published,
    findEntry,
    beforeChange() {},
    reload: nothing,
    close: nothing,
  };
}

/** Opens what is not open among `open` already; if that fails, what was newly opened is closed again. */
async function openGeneration(
  { logs, required }: Several,
  config: ServeConfig,
  deps: OpenLogDeps,
  open: readonly Member[] = [],
): Promise<Generation> {
  const members: Member[] = [];
  try {
    for (const log of logs) members.push(await openMember(log, config, deps, open));
    const notAfterOfNow = () => deps.clock() + config.certificateLifetimeMs;
    return { members, required, set: openLogSet({ members, required, logger: deps.logger, notAfterOfNow }) };
  } catch (error) {
    for (const { log } of without(members, open)) await log.close();
    throw error;
  }
}

/** The members whose logs are not among those of `others`. */
function without(members: readonly Member[], others: readonly Member[]): Member[] {
  return members.filter(({ log }) => !others.some((other) => other.log === log));
}

class Logs implements OpenedLogs {
  readonly ctLog: CtLogs;
  readonly routes: ReadonlyMap<string, Router>;
  readonly readable: ReadonlyMap<string, EmbeddedLog>;
  readonly treeHeadTime?: () => number;
  readonly #config: ServeConfig;
  readonly #deps: OpenLogDeps;
  readonly #record: LogRecord;
  readonly #closing = new AbortController();
  /** Root checks, and logs that are being left. */
  readonly #background = new Set<Promise<void>>();
  #current: Generation;
  #before: () => Promise<void> = async () => {};
  #reloading: Promise<void> = Promise.resolve();
  #stops: (() => void)[] = [];

  constructor(config: ServeConfig, deps: OpenLogDeps, record: LogRecord, first: Generation) {
    this.#config = config;
    this.#deps = deps;
    this.#record = record;
    this.#current = first;
    this.routes = new Map(first.members.flatMap(({ routes }) => [...(routes ?? [])]));
    this.readable = new Map(first.members.flatMap(({ readable }) => [...(readable ?? [])]));
    const treeHeadTime = first.members.find((member) => member.treeHeadTime !== undefined)?.treeHeadTime;
    if (treeHeadTime !== undefined) this.treeHeadTime = treeHeadTime;
    const set = (): LogSet => this.#current.set;
    this.ctLog = {
      get name() {
        return set().name;
      },
      submit: (submission, signal, signSct) => set().submit(submission, signal, signSct),
      readiness: () => set().readiness(),
      close: () => this.close(),
    };
  }

  each(): readonly CtLog[] {
    return this.#current.members.map(({ log }) => log);
  }

  async start({ file }: Several): Promise<void> {
    await this.#record.update(embedded(this.#current.members));
    this.#check(this.#current.members);
    this.#tellCoverage();
    this.#stops.push(daily(() => this.#tellCoverage()));
    if (file === undefined) return;
    const changed = () => void this.reload('file changed');
    const watcher = watchDirectory(dirname(file.path), [basename(file.path), '..data'], changed);
    this.#stops.push(() => watcher?.close());
  }

  published(): readonly PublishedLog[] {
    return this.#record.list();
  }

  findEntry(key: Uint8Array): EntrySearch {
    const searches = this.#current.members.map(({ findEntry }) => findEntry?.(key) ?? { found: [], complete: false });
    return { found: searches.flatMap(({ found }) => found), complete: searches.every(({ complete }) => complete) };
  }

  beforeChange(action: () => Promise<void>): void {
    this.#before = action;
  }

  reload(why: string): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload(why));
    return this.#reloading;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    for (const stop of this.#stops) stop();
    await this.#reloading;
    await Promise.all(this.#background);
    await this.#current.set.close();
  }

  async #reload(why: string): Promise<void> {
    const { ctLog } = this.#config;
    if (ctLog.kind !== 'several' || ctLog.file === undefined || this.#closing.signal.aborted) return;
    const { logger, metrics } = this.#deps;
    const file = ctLog.file.path;
    try {
      const old = this.#current;
      await this.#replaceBy(readCtLogsFile(file, ctLog.file.timeoutMs));
      const names = this.#current.members.map(({ log }) => log.name);
      metrics.logs.configReloads.inc({ result: 'loaded' });
      if (!sameUse(old, this.#current)) logger.info({ file, why, logs: names }, 'list of logs loaded anew');
      this.#tellCoverage();
    } catch (error) {
      metrics.logs.configReloads.inc({ result: 'refused' });
      logger.error({ file, why }, `list of logs refused, the old one stays: ${messageOf(error)}`);
    }
  }

  async #replaceBy(choice: Several): Promise<void> {
    const old = this.#current;
    const ours = (kinds: readonly { kind: string }[]): boolean => kinds.some(({ kind }) => kind === 'embedded');
    if (ours(choice.logs) !== old.members.some(({ external }) => external === undefined)) {
      throw new AppError('STARTUP', 'the embedded log can be added or taken away by a restart only');
    }
    const next = await openGeneration(choice, this.#config, this.#deps, old.members);
    try {
      // Both lists, until the change is done: a certificate may carry SCTs of either.
      await this.#record.update([...embedded(next.members), ...embedded(without(old.members, next.members))]);
      await this.#before();
    } catch (error) {
      for (const { log } of without(next.members, old.members)) await log.close();
      throw error;
    }
    this.#current = next;
    this.#check(without(next.members, old.members));
    this.#inBackground(this.#leave(old, next));
  }

  /** The logs that are no more used are closed when nothing waits for them. */
  async #leave(old: Generation, next: Generation): Promise<void> {
    const { logger, metrics } = this.#deps;
    try {
      await old.set.drain();
      for (const { log } of without(old.members, next.members)) {
        await log.close();
        metrics.logs.circuitOpen.remove({ log: log.name });
      }
      if (this.#current !== next) return;
      await this.#record.update(embedded(next.members));
      await this.#before();
    } catch (error) {
      logger.error({ err: error }, `a log that is no more in use could not be left: ${messageOf(error)}`);
    }
  }

  #check(members: readonly Member[]): void {
    const { cas, logger } = this.#deps;
    for (const { external } of members) {
      if (external === undefined) continue;
      this.#inBackground(checkAcceptedRoots(external, cas.current().chain, logger, this.#closing.signal));
    }
  }

  #tellCoverage(): void {
    const { members, required } = this.#current;
    tellCoverage(members, required, this.#deps.clock() + this.#config.certificateLifetimeMs, this.#deps.logger);
  }

  #inBackground(work: Promise<void>): void {
    const settled = work.finally(() => this.#background.delete(settled));
    this.#background.add(settled);
  }
}

/** The logs whose SCTs are embedded, and the frozen ones before them. */
function embedded(members: readonly Member[]): PublishedLog[] {
  return members.filter(({ embed }) => embed).flatMap(({ published, former = [] }) => [published, ...former]);
}

function sameUse(a: Generation, b: Generation): boolean {
  const use = ({ members, required }: Generation): string =>
    JSON.stringify([required, members.map(({ identity, embed, interval }) => [identity, embed, interval])]);
  return use(a) === use(b);
}
