import { join } from 'node:path';
import { type Request, Router } from 'express';
import { AppError, messageOf } from '../errors.js';
import { createAnswers } from './answers.js';
import { detailOf } from './certificate.js';
import { LogExplorer, type ReadableLog, spkiOf } from './readable-log.js';
import { SearchIndex } from './search-index.js';
import { queryTerm, type SearchKind, searchKinds } from './search-terms.js';

/** A log that the explorer shows, and what it cannot do with it. */
export interface ExploredLog {
  readonly log: ReadableLog;
  /** Takes no entry any more. */
  readonly isFrozen: boolean;
  /** Why there is no search in it; undefined where there is. */
  readonly noSearch?: string | undefined;
}

export interface ExplorerOptions {
  /** By name, such as `ctlog`, the one in use first. */
  readonly logs: ReadonlyMap<string, ExploredLog>;
  /** Of the search indexes, one directory each: caches. */
  readonly indexDir: string;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly logger: { warn(details: object, message: string): void };
}

export interface Explorer {
  /** The JSON API, to be mounted at page/api. */
  readonly routes: Router;
  close(): Promise<void>;
}

const defaultLimit = 25;
const maxLimit = 100;
const maxQuery = 1000;
/** How long a search waits for entries that are not indexed yet. */
const searchPatienceMs = 300;
const json = 'application/json';

/** Read-only JSON over our own logs; every answer is bounded, has an entity tag and is of public data only. */
export function openExplorer(options: ExplorerOptions): Explorer {
  const logs = new Map([...options.logs].map(([name, { log }]) => [name, new LogExplorer(log)]));
  const indexes = new Map<string, Promise<SearchIndex>>();
  const answer = createAnswers();
  const router = Router({ caseSensitive: true, strict: true });

  const named = (request: Request): { name: string; explorer: LogExplorer; noSearch: string | undefined } => {
    const name = String(request.params.log);
    const explorer = logs.get(name);
    if (explorer === undefined) throw new AppError('NOT_FOUND', 'there is no log of this name here');
    return { name, explorer, noSearch: options.logs.get(name)?.noSearch };
  };

  const indexOf = (name: string, { log }: LogExplorer): Promise<SearchIndex> => {
    const known = indexes.get(name);
    if (known !== undefined) return known;
    const failed = (error: unknown) =>
      options.logger.warn({ log: log.origin, err: error }, `the search index stopped: ${messageOf(error)}`);
    const index = SearchIndex.open({
      directory: join(options.indexDir, name),
      logId: Buffer.from(log.logId).toString('hex'),
      reads: log.reads,
      clock: options.clock,
      failed,
    });
    indexes.set(name, index);
    // The next search tries again.
    index.catch(() => indexes.delete(name));
    return index;
  };

  router.get('/logs', (request, response) => {
    const version = [...logs.values()].map(({ log }) => log.treeHead().timestamp).join('-');
    const list = [...logs].map(([name, { log }]) => ({
      name,
      origin: log.origin,
      logId: Buffer.from(log.logId).toString('hex'),
      publicKey: spkiOf(log.publicKey),
      size: log.treeHead().size,
      timestamp: log.treeHead().timestamp,
      frozen: options.logs.get(name)?.isFrozen ?? false,
      noSearch: options.logs.get(name)?.noSearch,
    }));
    return answer(request, response, { version, make: () => ({ type: json, text: JSON.stringify({ logs: list }) }) });
  });

  router.get('/logs/:log/entries', async (request, response) => {
    const { name, explorer, noSearch } = named(request);
    const page = pageOf(request);
    if (page.search === undefined) {
      const make = async () => ({ type: json, text: JSON.stringify(await latest(explorer, page)) });
      return answer(request, response, { version: String(explorer.size), make });
    }
    if (noSearch !== undefined) throw new AppError('PARAMETER_INVALID', `q is given, but ${noSearch}`);
    const index = await indexOf(name, explorer);
    await index.catchUp(searchPatienceMs);
    const { from, to } = index.searched;
    const { search } = page;
    const make = async () => ({ type: json, text: JSON.stringify(await found(explorer, index, { ...page, search })) });
    return answer(request, response, { version: `${explorer.size}-${from}-${to}`, make });
  });

  router.get('/logs/:log/entries/:index', async (request, response) => {
    const { explorer } = named(request);
    const index = entryIndex(request);
    const make = async () => ({ type: json, text: JSON.stringify(await explorer.answer(index)) });
    await answer(request, response, { version: String(explorer.log.treeHead().timestamp), make });
  });

  router.get('/logs/:log/entries/:index/certificate.pem', async (request, response) => {
    const { name, explorer } = named(request);
    const index = entryIndex(request);
    const make = async () => ({
      type: 'application/x-pem-file',
      text: detailOf(await explorer.entry(index), index).pem,
    });
    response.setHeader('Content-Disposition', `attachment; filename="${name}-${index}.pem"`);
    await answer(request, response, { version: 'immutable', make });
  });

  return {
    routes: router,
    async close() {
      for (const index of indexes.values()) await (await index).close();
    },
  };
}

interface Page {
  /** Entries below this index; undefined: the newest. */
  readonly before: number | undefined;
  readonly limit: number;
}

interface Search {
  readonly terms: readonly Uint8Array[];
}

async function latest(explorer: LogExplorer, { before, limit }: Page) {
  const { size } = explorer;
  const to = Math.min(before ?? size, size);
  const from = Math.max(0, to - limit);
  return { size, entries: await explorer.range(from, to), ...(from > 0 ? { next: from } : {}) };
}

async function found(explorer: LogExplorer, index: SearchIndex, page: Page & { readonly search: Search }) {
  const { size } = explorer;
  const { limit } = page;
  const indexes = index.find(page.search.terms, Math.min(page.before ?? size, size), limit + 1);
  const shown = indexes.slice(0, limit);
  const last = shown.at(-1);
  const { from, to } = index.searched;
  return {
    size,
    searched: { from, to },
    entries: await explorer.summaries(shown),
    ...(indexes.length > limit && last !== undefined ? { next: last } : {}),
  };
}

function pageOf(request: Request): Page & { readonly search: Search | undefined } {
  const limit = integer(request, 'limit') ?? defaultLimit;
  if (limit < 1 || limit > maxLimit) {
    throw new AppError('PARAMETER_INVALID', `limit is ${limit}; expected 1 to ${maxLimit}`);
  }
  return { before: integer(request, 'before'), limit, search: searchOf(request) };
}

function searchOf(request: Request): Search | undefined {
  const query = text(request, 'q');
  const by = text(request, 'by') ?? 'any';
  if (query === undefined || query.trim() === '') return undefined;
  if (query.length > maxQuery) throw new AppError('PARAMETER_INVALID', `q is longer than ${maxQuery} characters`);
  const kinds = Object.keys(searchKinds) as SearchKind[];
  const kind = kinds.find((one) => one === by);
  if (kind === undefined && by !== 'any') {
    throw new AppError('PARAMETER_INVALID', `by is "${by.slice(0, 40)}"; expected any, ${kinds.join(', ')}`);
  }
  const terms = (kind === undefined ? kinds : [kind]).flatMap((one) => queryTerm(one, query) ?? []);
  if (terms.length === 0) {
    throw new AppError(
      'PARAMETER_INVALID',
      'q is no serial number; expected hexadecimal digits, with or without colons',
    );
  }
  return { terms };
}

function entryIndex(request: Request): number {
  const value = String(request.params.index);
  if (/^\d{1,12}$/.test(value)) return Number(value);
  throw new AppError('NOT_FOUND', 'an entry is named by its index in the log, a number');
}

function integer(request: Request, name: string): number | undefined {
  const value = text(request, name);
  if (value === undefined) return undefined;
  if (/^\d{1,12}$/.test(value)) return Number(value);
  throw new AppError('PARAMETER_INVALID', `${name} is "${value.slice(0, 40)}"; expected a non-negative integer`);
}

function text(request: Request, name: string): string | undefined {
  const value = request.query[name];
  if (value === undefined || typeof value === 'string') return value;
  throw new AppError('PARAMETER_INVALID', `${name} is given more than once; expected one value`);
}
