import { type Alias, type Document, isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, parseDocument } from 'yaml';
import { AppError } from '../errors.js';

/** A value of the configuration file that knows where it stands, so that every complaint can name path and line. */
export type Located = LocatedScalar | LocatedMap | LocatedList;

interface Place {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** Such as `oidc-issuers["https://example.com"].type`; '' for the whole file. */
  readonly path: string;
}

export interface LocatedScalar extends Place {
  readonly kind: 'scalar';
  /** As written, quotes and escapes resolved; '' for null. Go reads any scalar into a string field. */
  readonly text: string;
  readonly value: unknown;
}

export interface LocatedMap extends Place {
  readonly kind: 'map';
  readonly entries: readonly LocatedEntry[];
}

export interface LocatedList extends Place {
  readonly kind: 'list';
  readonly items: readonly Located[];
}

export interface LocatedEntry extends Place {
  readonly key: string;
  readonly value: Located;
}

/** AppError STARTUP as `FILE:line: path: what was found, what was expected`. */
export function configError(place: Place, message: string, cause?: unknown): AppError {
  return new AppError('STARTUP', `${where(place)}${message}`, cause === undefined ? {} : { cause });
}

/** `FILE:line: path: `, the beginning of every error and warning. */
export function where(place: Place): string {
  return `${place.file}:${place.line}: ${place.path === '' ? '' : `${place.path}: `}`;
}

const maxDepth = 32;

/**
 * Parses YAML (of which JSON is a subset) into located values: aliases resolved, merge keys applied, no key twice in a
 * mapping. Throws AppError STARTUP.
 */
export function parseConfigTree(text: string, file: string): Located {
  const lines = new LineCounter();
  const source = spaceAfterAliasKeys(tabsOfJson(text));
  const document = parseDocument(source, { lineCounter: lines, uniqueKeys: false, merge: false });
  const [error] = document.errors;
  if (error !== undefined) {
    const line = error.linePos?.[0].line ?? 1;
    const reason = (error.message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '');
    throw configError({ file, line, path: '' }, `is not valid YAML: ${reason}`, error);
  }
  if (document.contents === null) {
    throw configError({ file, line: 1, path: '' }, 'the file is empty; expected a mapping with the key oidc-issuers');
  }
  return locate(document.contents, { file, lines, document }, { path: '', line: 1, depth: 0 });
}

/** JSON may be indented with tabs, YAML may not; a tab inside a JSON string is always escaped. */
function tabsOfJson(text: string): string {
  return /^\s*\{/.test(text) ? text.replaceAll('\t', ' ') : text;
}

/**
 * `*github-type:` as a mapping key, which the public instance's file has. YAML 1.2 lets an anchor name end in a colon,
 * so the parser sees an alias and no key; Go's parser, like YAML 1.1, sees a key. One space settles it. Working on
 * lexemes keeps text inside strings and block scalars as it is.
 */
function spaceAfterAliasKeys(text: string): string {
  if (!/^[ \t]*(?:- )*\*[^\s]+:(?:\s|$)/m.test(text)) return text;
  let out = '';
  for (const lexeme of new Lexer().lex(text)) {
    // The lexer adds three control characters of its own: document start, flow error, scalar.
    if (lexeme === '\u0002' || lexeme === '\u0018' || lexeme === '\u001f') continue;
    out += lexeme.startsWith('*') && lexeme.endsWith(':') ? `${lexeme.slice(0, -1)} :` : lexeme;
  }
  return out;
}

interface Source {
  readonly file: string;
  readonly lines: LineCounter;
  readonly document: Document.Parsed;
}

interface At {
  readonly path: string;
  /** Line of the key or of the parent, for nodes that have no position of their own. */
  readonly line: number;
  readonly depth: number;
}

function locate(node: unknown, source: Source, at: At): Located {
  const place = { file: source.file, line: lineOf(node, source) ?? at.line, path: at.path };
  if (at.depth > maxDepth) throw configError(place, `is nested more than ${maxDepth} levels deep`);
  if (isAlias(node)) {
    return { ...locate(resolve(node, source, place), source, { ...at, depth: at.depth + 1 }), line: place.line };
  }
  if (isMap(node)) return { ...place, kind: 'map', entries: locateEntries(node.items, source, { ...at, ...place }) };
  if (isSeq(node)) return { ...place, kind: 'list', items: locateItems(node.items, source, { ...at, ...place }) };
  if (isScalar(node)) {
    const text = typeof node.value === 'string' ? node.value : node.value === null ? '' : (node.source ?? '');
    return { ...place, kind: 'scalar', text, value: node.value };
  }
  return { ...place, kind: 'scalar', text: '', value: null };
}

/** Items that have a name go by it in messages: `allow["releases"]`. */
function locateItems(items: readonly unknown[], source: Source, at: At): Located[] {
  return items.map((item, i) => {
    const name = isMap(item) ? (item.get('name') ?? item.get('Name')) : undefined;
    const label = typeof name === 'string' && name !== '' ? JSON.stringify(name) : i;
    return locate(item, source, { ...at, path: `${at.path}[${label}]`, depth: at.depth + 1 });
  });
}

function resolve(alias: Alias, source: Source, place: Place): unknown {
  const target = alias.resolve(source.document);
  if (target === undefined) throw configError(place, `the alias *${alias.source} has no anchor &${alias.source}`);
  return target;
}

interface Pair {
  readonly key: unknown;
  readonly value: unknown;
}

function locateEntries(pairs: readonly Pair[], source: Source, at: At): LocatedEntry[] {
  const entries = new Map<string, LocatedEntry>();
  const merged: LocatedEntry[] = [];
  for (const pair of pairs) {
    const line = lineOf(pair.key, source) ?? at.line;
    const place = { file: source.file, line, path: at.path };
    const keyNode = locate(pair.key, source, { ...at, line, depth: at.depth + 1 });
    if (keyNode.kind !== 'scalar') throw configError(place, `a key is a ${keyNode.kind}; expected text`);
    const key = keyNode.text;
    const path = childPath(at.path, key);
    const value = locate(pair.value, source, { path: key === '<<' ? at.path : path, line, depth: at.depth + 1 });
    if (key === '<<' && value.kind === 'map') {
      merged.push(...value.entries);
      continue;
    }
    const first = entries.get(key);
    if (first !== undefined)
      throw configError({ ...place, path }, `the key is there twice; first on line ${first.line}`);
    entries.set(key, { file: source.file, line, path, key, value });
  }
  for (const entry of merged) if (!entries.has(entry.key)) entries.set(entry.key, entry);
  return [...entries.values()];
}

function childPath(path: string, key: string): string {
  if (!/^[\w-]+$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === '' ? key : `${path}.${key}`;
}

function lineOf(node: unknown, source: Source): number | undefined {
  if (!isScalar(node) && !isMap(node) && !isSeq(node) && !isAlias(node)) return undefined;
  const start = node.range?.[0];
  return start === undefined ? undefined : source.lines.linePos(start).line;
}
