import express, { type NextFunction, type Request, type Response, Router } from 'express';
import { z } from 'zod';
import type { Sct } from '../ct/log.js';
import { AppError, messageOf } from '../errors.js';
import { parseStrictJson } from '../json.js';
import type { EmbeddedLog } from './log.js';
import { type ServedFiles, serveFiles } from './static-files.js';

export interface CtlogRoutesOptions {
  /** How long a submission may wait for its commit. */
  readonly timeoutMs?: number;
}

/** Limit of an add-chain or add-pre-chain body. */
const maxBody = 1024 * 1024;
const maxChain = 10;
const maxDigits = 15;
const defaultTimeoutMs = 10_000;

/** The router, and past it the tiles that are in memory. */
export type LogRouter = Router & Pick<ServedFiles, 'cachedTile'>;

type Handler = (request: Request, response: Response) => Promise<unknown>;

/**
 * An embedded log as a router to be mounted at its submission prefix: the endpoints of RFC 6962 Section 4 below `ct/v1/`
 * and the files of static-ct-api. Errors are thrown as AppError to the application's error handler.
 */
export function ctlogRoutes(log: EmbeddedLog, { timeoutMs = defaultTimeoutMs }: CtlogRoutesOptions = {}): LogRouter {
  const router = Router({ caseSensitive: true, strict: true });
  router.use((_request, response, next) => {
    response.setHeader('Access-Control-Allow-Origin', '*');
    next();
  });
  // First, because nothing is asked for as often: each route that a request passes costs it a microsecond or two.
  const { routes, cachedTile } = serveFiles(log.files);
  for (const [path, serve] of Object.entries(routes)) {
    router
      .route(path)
      .get(serve satisfies Handler)
      .all(methodNotAllowed);
  }
  for (const [name, add] of Object.entries(submissions)) {
    router
      .route(`/ct/v1/${name}`)
      .post(readRaw, async (request, response) => {
        const sct = await add(log, parseChain(request.body), AbortSignal.timeout(timeoutMs));
        answerJson(response, sctAnswer(sct));
      })
      .all(methodNotAllowed);
  }
  for (const [name, read] of Object.entries(readEndpoints)) {
    router
      .route(`/ct/v1/${name}`)
      .get(async (request, response) => answerJson(response, await read(log, new Query(request.query))))
      .all(methodNotAllowed);
  }
  return Object.assign(router, { cachedTile });
}

const submissions: Readonly<
  Record<string, (log: EmbeddedLog, chain: readonly Uint8Array[], signal: AbortSignal) => Promise<Sct>>
> = {
  'add-chain': (log, chain, signal) => log.addChain(chain, signal),
  'add-pre-chain': (log, chain, signal) => log.addPreChain(chain, signal),
};

const readEndpoints: Readonly<Record<string, (log: EmbeddedLog, query: Query) => unknown>> = {
  'get-sth': (log) => {
    const { size, timestamp, root, signature } = log.treeHead();
    return {
      tree_size: size,
      timestamp,
      sha256_root_hash: toBase64(root),
      tree_head_signature: toBase64(signature),
    };
  },
  'get-sth-consistency': async ({ reads }, query) => {
    const proof = await reads.consistencyProof(query.integer('first'), query.integer('second'));
    return { consistency: proof.map(toBase64) };
  },
  'get-proof-by-hash': async ({ reads }, query) => {
    const hash = query.hash('hash');
    const size = query.integer('tree_size');
    const index = reads.indexOf(hash, size);
    if (index === undefined) throw new AppError('NOT_FOUND', `no leaf below tree_size ${size} has this hash`);
    return { leaf_index: index, audit_path: (await reads.inclusionProof(index, size)).map(toBase64) };
  },
  'get-entries': async ({ reads }, query) => {
    const entries = await reads.entries(query.integer('start'), query.last('end'));
    return { entries: entries.map(entryJson) };
  },
  'get-entry-and-proof': async ({ reads }, query) => {
    const index = query.integer('leaf_index');
    const proof = await reads.inclusionProof(index, query.integer('tree_size'));
    const [entry] = await reads.entries(index, index);
    if (entry === undefined) throw new AppError('INTERNAL', '');
    return { ...entryJson(entry), audit_path: proof.map(toBase64) };
  },
  'get-roots': (log) => ({ certificates: log.roots().map(toBase64) }),
};

function entryJson(entry: { leafInput: Uint8Array; extraData: Uint8Array }) {
  return { leaf_input: toBase64(entry.leafInput), extra_data: toBase64(entry.extraData) };
}

/** The answer to add-chain (RFC 6962 Section 4.1). */
function sctAnswer({ logId, timestamp, extensions, signature }: Sct) {
  return {
    sct_version: 0,
    id: toBase64(logId),
    timestamp: Number(timestamp),
    extensions: toBase64(extensions),
    signature: toBase64(signature),
  };
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

function answerJson(response: Response, body: unknown): void {
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(body));
}

function methodNotAllowed(): never {
  throw new AppError('METHOD_NOT_ALLOWED', '');
}

/** The query parameters of a read; throws AppError PARAMETER_INVALID naming the parameter. */
class Query {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  integer(name: string): number {
    const text = this.#digits(name);
    // Fifteen digits fit a double exactly, and no log is larger.
    if (text.length <= maxDigits) return Number(text);
    throw invalidNumber(name, text, `an integer of at most ${maxDigits} digits`);
  }

  /** The end of a range, which may lie as far beyond the log as it likes (RFC 6962 Section 4.6). */
  last(name: string): number {
    const text = this.#digits(name);
    return text.length <= maxDigits ? Number(text) : Number.MAX_SAFE_INTEGER;
  }

  /** 32 bytes in base64; a "+" that was not percent-encoded arrives as a space. */
  hash(name: string): Uint8Array {
    const hash = fromBase64(this.#text(name).replaceAll(' ', '+'));
    if (hash?.length === 32) return hash;
    throw new AppError('PARAMETER_INVALID', `${name} is not 32 bytes in base64`);
  }

  /** A non-negative integer, without leading zeros. */
  #digits(name: string): string {
    const text = this.#text(name);
    if (/^\d+$/.test(text)) return text.replace(/^0+(?=\d)/, '');
    throw invalidNumber(name, text, 'a non-negative integer');
  }

  #text(name: string): string {
    const value = this.#values[name];
    if (typeof value === 'string') return value;
    const found = value === undefined ? 'missing' : 'given more than once';
    throw new AppError('PARAMETER_INVALID', `${name} is ${found}; expected one value`);
  }
}

function invalidNumber(name: string, text: string, expected: string): AppError {
  return new AppError('PARAMETER_INVALID', `${name} is "${text.slice(0, 40)}"; expected ${expected}`);
}

function fromBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

const rawBody = express.raw({ type: () => true, limit: maxBody, inflate: false });

function readRaw(request: Request, response: Response, next: NextFunction): void {
  rawBody(request, response, (error?: unknown) => next(error === undefined ? undefined : bodyError(error)));
}

/** body-parser's `type` of what went wrong → what the client reads. */
const bodyErrors: Readonly<Record<string, () => AppError>> = {
  'entity.too.large': () => new AppError('BODY_TOO_LARGE', `the body is larger than ${maxBody} bytes`),
  'encoding.unsupported': () => new AppError('BODY_ENCODING_UNSUPPORTED', 'the body has a content-encoding'),
  'request.aborted': () => new AppError('BODY_INCOMPLETE', 'the connection ended before the body did'),
};

function bodyError(cause: unknown): AppError {
  const type = typeof cause === 'object' && cause !== null && 'type' in cause ? String(cause.type) : '';
  return bodyErrors[type]?.() ?? new AppError('BODY_MALFORMED', 'the body cannot be read', { cause });
}

const chainBody = z.object({ chain: z.array(z.string()).min(1).max(maxChain) });

/** The body of add-chain: `{"chain": [base64 DER, …]}`. */
function parseChain(body: unknown): Uint8Array[] {
  let json: unknown;
  try {
    json = parseStrictJson(Buffer.isBuffer(body) ? body : Buffer.alloc(0));
  } catch (cause) {
    throw new AppError('BODY_MALFORMED', `the body is not JSON: ${messageOf(cause)}`, { cause });
  }
  const parsed = chainBody.safeParse(json);
  if (!parsed.success) {
    throw new AppError('BODY_MALFORMED', `expected {"chain": [base64, …]} with 1 to ${maxChain} certificates`);
  }
  return parsed.data.chain.map((text, i) => {
    const der = fromBase64(text);
    if (der === undefined) throw new AppError('BODY_MALFORMED', `certificate ${i + 1} of the chain is not base64`);
    return der;
  });
}
