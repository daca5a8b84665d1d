import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { WriterLease } from '../../src/ctlog/postgres-lease.js';
import type { S3Options } from '../../src/ctlog/s3-objects.js';
import { CheckpointConflict } from '../../src/ctlog/storage.js';

/** What happens to a request: refused; carried out and refused; never answered; carried out and never answered. */
export type S3Fault = 'fail' | 'persist' | 'hang' | 'persist and hang';

interface Request {
  readonly method: string;
  readonly key: string;
}

/** An S3 server in memory: objects by key, conditions on writes, and faults. */
export interface FakeS3 {
  readonly objects: Map<string, Buffer>;
  readonly s3: S3Options;
  /** Keys whose content was changed by a write, in order. */
  readonly rewritten: string[];
  /** Asked for each request; a promise holds it up. */
  fault: (request: Request) => S3Fault | undefined | Promise<S3Fault | undefined>;
  /** As some stores do. */
  ignoreConditions: boolean;
  close(): Promise<void>;
}

const etagOf = (bytes: Uint8Array): string => `"${createHash('md5').update(bytes).digest('hex')}"`;

/** An S3 server of its own; requests that it lets hang are given up after `attemptTimeoutMs`. */
export async function startFakeS3(attemptTimeoutMs = 500): Promise<FakeS3> {
  const server = createServer((request, response) => void handle(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const fake: FakeS3 = {
    objects: new Map(),
    rewritten: [],
    fault: () => undefined,
    ignoreConditions: false,
    s3: {
      bucket: 'bucket',
      prefix: 'log/',
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      pathStyle: true,
      credentials: { accessKeyId: 'id', secretAccessKey: 'secret' },
      attempts: 1,
      attemptTimeoutMs,
      timeoutMs: 2 * attemptTimeoutMs,
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const url = new URL(request.url ?? '/', 'http://fake');
    const key = decodeURIComponent(url.pathname.slice('/bucket/'.length));
    const { method = '' } = request;
    const fault = await fake.fault({ method: url.searchParams.has('delete') ? 'DELETE' : method, key });
    if (fault === 'hang') return;
    const answer = fault === undefined ? response : undefined;
    if (fault === 'fail') error(response, 500, 'InternalError');
    else if (method === 'PUT') put(request, key, Buffer.concat(parts), answer);
    else if (url.searchParams.has('delete')) remove(Buffer.concat(parts).toString(), answer);
    else if (url.searchParams.has('list-type')) list(url.searchParams.get('prefix') ?? '', answer);
    else get(key, answer);
    if (fault === 'persist') error(response, 500, 'InternalError');
  }

  function put(request: IncomingMessage, key: string, bytes: Buffer, response: ServerResponse | undefined): void {
    const old = fake.objects.get(key);
    const { 'if-match': match, 'if-none-match': none } = request.headers;
    const refuse = (none === '*' && old !== undefined) || (match !== undefined && (!old || etagOf(old) !== match));
    if (refuse && !fake.ignoreConditions) {
      error(response, 412, 'PreconditionFailed');
      return;
    }
    if (old !== undefined && !old.equals(bytes)) fake.rewritten.push(key);
    fake.objects.set(key, bytes);
    response?.writeHead(200, { etag: etagOf(bytes) }).end();
  }

  function get(key: string, response: ServerResponse | undefined): void {
    const bytes = fake.objects.get(key);
    if (bytes === undefined) error(response, 404, 'NoSuchKey');
    else response?.writeHead(200, { etag: etagOf(bytes) }).end(bytes);
  }

  function list(prefix: string, response: ServerResponse | undefined): void {
    const keys = [...fake.objects.keys()].filter((key) => key.startsWith(prefix));
    const contents = keys.map((key) => `<Contents><Key>${key}</Key></Contents>`).join('');
    xml(response, `<ListBucketResult><IsTruncated>false</IsTruncated>${contents}</ListBucketResult>`);
  }

  function remove(body: string, response: ServerResponse | undefined): void {
    for (const [, key = ''] of body.matchAll(/<Key>([^<]*)<\/Key>/g)) fake.objects.delete(key);
    xml(response, '<DeleteResult></DeleteResult>');
  }

  return fake;
}

function xml(response: ServerResponse | undefined, body: string, status = 200): void {
  response?.writeHead(status, { 'content-type': 'application/xml' }).end(`<?xml version="1.0"?>${body}`);
}

function error(response: ServerResponse | undefined, status: number, code: string): void {
  xml(response, `<Error><Code>${code}</Code><Message>fake</Message></Error>`, status);
}

/** The row that leases share: what PostgreSQL does, without its clock. */
export interface FakeRow {
  epoch: bigint;
  owner: object | undefined;
  checkpoint: Uint8Array | undefined;
}

/** A lease on `row` that takes it from its holder whenever it is acquired. */
export function fakeLease(row: FakeRow): WriterLease & { steal(): void } {
  const owner = {};
  let epoch: bigint | undefined;
  const hold = () => {
    row.owner = owner;
    row.epoch += 1n;
    epoch = row.epoch;
  };
  const requireHeld = () => {
    if (row.owner === owner && row.epoch === epoch) return;
    epoch = undefined;
    throw new CheckpointConflict('the lease is lost');
  };
  return {
    name: 'fake database',
    id: 'fake row',
    get epoch() {
      if (epoch === undefined) throw new CheckpointConflict('no lease');
      return epoch;
    },
    isHeld: () => epoch !== undefined,
    steal: hold,
    async acquire() {
      if (row.owner !== undefined && row.owner !== owner) return { holder: 'the other one', expiresInMs: 1_000 };
      hold();
      return 'acquired';
    },
    async load() {
      requireHeld();
      hold();
      return row.checkpoint;
    },
    async replace(expected, next) {
      requireHeld();
      if (expected !== row.checkpoint && Buffer.compare(expected ?? Buffer.of(), row.checkpoint ?? Buffer.of()) !== 0) {
        throw new CheckpointConflict('another checkpoint');
      }
      row.checkpoint = next;
    },
    confirm: async () => requireHeld(),
    async close() {
      if (row.owner === owner) row.owner = undefined;
    },
  };
}
