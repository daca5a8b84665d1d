import { createHash, createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import request from 'supertest';
import { decodeMerkleTreeLeaf } from '../../src/ct/leaf.js';
import { verifySct } from '../../src/ct/sct.js';
import { checkLog } from '../../src/ctlog/check.js';
import { openCheckpoint, verifyTreeHead } from '../../src/ctlog/checkpoint.js';
import type { EmbeddedLog } from '../../src/ctlog/log.js';
import { leafHash, verifyConsistency, verifyInclusion } from '../../src/ctlog/merkle.js';
import { ctlogRoutes } from '../../src/ctlog/routes.js';
import { decodeDataTile } from '../../src/ctlog/tile-leaf.js';
import { toAppError } from '../../src/errors.js';
import { chain, issuerKeyHash, newCertificate, newPrecertificate, rootDer } from './certificates.js';
import { newLogKey, openLog, origin, submission, temporaryDirectory } from './fixtures.js';

const key = newLogKey();
const publicKey = createPublicKey(key);
const directory = temporaryDirectory();
let log: EmbeddedLog;
let app: Express;

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const bytes = (text: string) => Buffer.from(text, 'base64');

beforeAll(async () => {
  log = await openLog(directory.path, key);
  await Promise.all(Array.from({ length: 300 }, () => log.submit(submission())));
  app = express();
  app.use('/ctlog', ctlogRoutes(log));
  app.use((thrown: unknown, _request: Request, response: Response, _next: NextFunction) => {
    const error = toAppError(thrown);
    response.status(error.httpStatus).json({ reason: error.code, message: error.publicMessage });
  });
});

afterAll(async () => {
  await log.close();
  directory.dispose();
});

const get = (path: string) => request(app).get(`/ctlog/${path}`);
const binary = (path: string) =>
  get(path)
    .buffer(true)
    .parse((response, done) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => done(null, Buffer.concat(chunks)));
    });
const sth = async () => (await get('ct/v1/get-sth')).body;

test('add-pre-chain answers with an SCT that verifies, and twice with the same one', async () => {
  const { precertificate, tbs } = newPrecertificate();
  const body = { chain: [precertificate, ...chain].map(base64) };
  const { body: answer, status } = await request(app).post('/ctlog/ct/v1/add-pre-chain').send(body);
  expect(status).toBe(200);
  const sct = {
    logId: bytes(answer.id),
    timestamp: BigInt(answer.timestamp),
    extensions: bytes(answer.extensions),
    signature: bytes(answer.signature),
  };
  expect(answer.sct_version).toBe(0);
  expect(verifySct(sct, { tbs, issuerKeyHash }, publicKey)).toBe(true);
  const again = await request(app).post('/ctlog/ct/v1/add-pre-chain').send(body);
  expect(again.body).toMatchObject({ timestamp: answer.timestamp, extensions: answer.extensions });
});

test('add-chain takes a final certificate', async () => {
  const body = { chain: [newCertificate(), ...chain].map(base64) };
  const { status } = await request(app).post('/ctlog/ct/v1/add-chain').send(body);
  expect(status).toBe(200);
});

test.each([
  ['no body', '', 400, 'BODY_MALFORMED'],
  ['no JSON', 'chain', 400, 'BODY_MALFORMED'],
  ['an empty chain', '{"chain":[]}', 400, 'BODY_MALFORMED'],
  ['two readings', '{"chain":["AA=="],"chain":["AA=="]}', 400, 'BODY_MALFORMED'],
  ['numbers', '{"chain":[1]}', 400, 'BODY_MALFORMED'],
  ['no base64', '{"chain":["%"]}', 400, 'BODY_MALFORMED'],
  ['eleven certificates', JSON.stringify({ chain: Array(11).fill('AA==') }), 400, 'BODY_MALFORMED'],
  ['no certificate', '{"chain":["AA=="]}', 400, 'CT_SUBMISSION_REFUSED'],
  ['more than a mebibyte', `{"chain":["${'A'.repeat(1_100_000)}"]}`, 400, 'BODY_TOO_LARGE'],
])('add-chain with %s is refused', async (_, body, status, reason) => {
  const answer = await request(app).post('/ctlog/ct/v1/add-chain').set('content-type', 'application/json').send(body);
  expect([answer.status, answer.body.reason]).toEqual([status, reason]);
});

test('get-sth is signed, and the same as the checkpoint', async () => {
  const head = await sth();
  const treeHead = {
    size: head.tree_size,
    timestamp: head.timestamp,
    root: bytes(head.sha256_root_hash),
    signature: bytes(head.tree_head_signature),
  };
  expect(verifyTreeHead(treeHead, publicKey)).toBe(true);
  const checkpoint = await get('checkpoint');
  expect(checkpoint.headers).toMatchObject({
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-cache',
    'access-control-allow-origin': '*',
  });
  expect(openCheckpoint(Buffer.from(checkpoint.text), { origin, logKey: publicKey })).toMatchObject({
    size: head.tree_size,
    timestamp: head.timestamp,
  });
});

test('get-entries, get-proof-by-hash and get-entry-and-proof agree with the tree head', async () => {
  const { tree_size: size, sha256_root_hash: root } = await sth();
  const { body } = await get('ct/v1/get-entries?start=255&end=257');
  expect(body.entries).toHaveLength(3);
  for (const [i, entry] of body.entries.entries()) {
    const hash = leafHash(bytes(entry.leaf_input));
    const { body: proof } = await get('ct/v1/get-proof-by-hash').query({ hash: base64(hash), tree_size: size });
    expect(proof.leaf_index).toBe(255 + i);
    expect(verifyInclusion(255 + i, size, hash, proof.audit_path.map(bytes), bytes(root))).toBe(true);
    const { body: both } = await get(`ct/v1/get-entry-and-proof?leaf_index=${255 + i}&tree_size=${size}`);
    expect(both).toEqual({ ...entry, audit_path: proof.audit_path });
    expect(decodeMerkleTreeLeaf(bytes(entry.leaf_input)).entry.type).toBe('precert');
  }
});

test('get-entries gives at most 256 entries, and what there is', async () => {
  const { tree_size: size } = await sth();
  expect((await get('ct/v1/get-entries?start=0&end=100000')).body.entries).toHaveLength(256);
  expect((await get(`ct/v1/get-entries?start=${size - 1}&end=100000`)).body.entries).toHaveLength(1);
});

test.each(['9'.repeat(16), '9223372036854775807', `1${'0'.repeat(60)}`, `000${'9'.repeat(15)}`])(
  'get-entries up to %s gives what there is, like a range that ends just behind the log',
  async (end) => {
    const { tree_size: size } = await sth();
    const { body } = await get(`ct/v1/get-entries?start=${size - 2}&end=${end}`);
    expect(body.entries).toHaveLength(2);
    expect((await get(`ct/v1/get-entries?start=0&end=${end}`)).body.entries).toHaveLength(256);
  },
);

test.each(['first=0&second=0', 'first=0&second=1', 'first=1&second=1'])(
  'get-sth-consistency?%s has nothing to prove',
  async (query) => {
    const { status, body } = await get(`ct/v1/get-sth-consistency?${query}`);
    expect([status, body]).toEqual([200, { consistency: [] }]);
  },
);

test.each([
  ['get-sth-consistency?first=1&second=0', 'first is 1; expected 0 to second, 0'],
  [
    `get-sth-consistency?first=1&second=${'9'.repeat(16)}`,
    `second is "${'9'.repeat(16)}"; expected an integer of at most`,
  ],
  ['get-entry-and-proof?leaf_index=0&tree_size=0', 'tree_size is 0; expected at least 1'],
  ['get-entries?start=&end=0', 'start is ""; expected a non-negative integer'],
])('%s is told "%s"', async (path, message) => {
  const { status, body } = await get(`ct/v1/${path}`);
  expect(status).toBe(400);
  expect(body.message).toContain(message);
});

test('get-sth-consistency proves that the tree grew', async () => {
  const first = await sth();
  await log.submit(submission());
  const second = await sth();
  const { body } = await get(`ct/v1/get-sth-consistency?first=${first.tree_size}&second=${second.tree_size}`);
  const claim = {
    first: first.tree_size,
    second: second.tree_size,
    firstRoot: bytes(first.sha256_root_hash),
    secondRoot: bytes(second.sha256_root_hash),
    proof: body.consistency.map(bytes),
  };
  expect(verifyConsistency(claim)).toBe(true);
});

test('get-roots gives the accepted roots', async () => {
  expect((await get('ct/v1/get-roots')).body).toEqual({ certificates: [base64(rootDer)] });
});

test.each([
  ['get-entries', 'PARAMETER_INVALID'],
  ['get-entries?start=1&end=0', 'PARAMETER_INVALID'],
  ['get-entries?start=-1&end=0', 'PARAMETER_INVALID'],
  ['get-entries?start=1e3&end=2000', 'PARAMETER_INVALID'],
  ['get-entries?start=0&start=1&end=1', 'PARAMETER_INVALID'],
  ['get-entries?start=99999999&end=99999999', 'PARAMETER_INVALID'],
  ['get-entries?start=99999999999999999999&end=99999999999999999999', 'PARAMETER_INVALID'],
  ['get-sth-consistency?first=5&second=4', 'PARAMETER_INVALID'],
  ['get-sth-consistency?first=1&second=99999', 'PARAMETER_INVALID'],
  ['get-proof-by-hash?hash=AA&tree_size=1', 'PARAMETER_INVALID'],
  [`get-proof-by-hash?hash=${encodeURIComponent(base64(Buffer.alloc(32)))}&tree_size=0`, 'PARAMETER_INVALID'],
  [`get-proof-by-hash?hash=${encodeURIComponent(base64(Buffer.alloc(32)))}&tree_size=9`, 'NOT_FOUND'],
  ['get-entry-and-proof?leaf_index=9&tree_size=9', 'PARAMETER_INVALID'],
  ['get-entry-and-proof?leaf_index=9&tree_size=99999', 'PARAMETER_INVALID'],
])('%s is refused with %s', async (path, reason) => {
  const { body, status } = await get(`ct/v1/${path}`);
  expect(body.reason).toBe(reason);
  expect(status).toBeLessThan(500);
});

test('tiles and issuers are immutable files of their types', async () => {
  const tile = await binary('tile/data/000');
  expect(tile.headers).toMatchObject({
    'content-type': 'application/octet-stream',
    'cache-control': expect.stringContaining('immutable'),
  });
  expect(decodeDataTile(tile.body)).toHaveLength(256);
  const fingerprint = createHash('sha256').update(rootDer).digest('hex');
  const issuer = await binary(`issuer/${fingerprint}`);
  expect(issuer.headers['content-type']).toBe('application/pkix-cert');
  expect(issuer.body).toEqual(rootDer);
});

test('a tile that a client has is not sent again, and its headers can be had alone', async () => {
  const { headers, body } = await binary('tile/0/000');
  const { etag = '' } = headers;
  expect(etag).toMatch(/^"[\w-]{22}"$/);
  const again = await get('tile/0/000').set('If-None-Match', etag);
  expect([again.status, again.headers.etag, again.text]).toEqual([304, etag, '']);
  expect(again.headers['cache-control']).toContain('immutable');
  expect((await get('tile/0/000').set('If-None-Match', '"other"')).status).toBe(200);
  const head = await request(app).head('/ctlog/tile/0/000');
  expect(head.status).toBe(200);
  expect(head.headers).toMatchObject({ etag, 'content-length': `${body.length}`, 'accept-ranges': 'bytes' });
  // Another log's tile of the same path, or one of a log that was begun again, has another tag.
  expect((await binary('tile/data/000')).headers.etag).not.toBe(etag);
});

test.each([
  ['bytes=0-31', 206, 'bytes 0-31/8192', [0, 32]],
  ['bytes=8160-', 206, 'bytes 8160-8191/8192', [8160, 8192]],
  ['bytes=-32', 206, 'bytes 8160-8191/8192', [8160, 8192]],
  ['bytes=8000-9999', 206, 'bytes 8000-8191/8192', [8000, 8192]],
  ['bytes=0-1,4-5', 200, undefined, [0, 8192]],
  ['lines=0-1', 200, undefined, [0, 8192]],
  ['nonsense', 200, undefined, [0, 8192]],
  ['bytes=9000-', 416, 'bytes */8192', [0, 0]],
])('of a tile, the range %s is answered with %d', async (range, status, contentRange, [from, to]) => {
  const whole = (await binary('tile/0/000')).body;
  const part = await binary('tile/0/000').set('Range', range);
  expect(part.status).toBe(status);
  expect(part.headers['content-range']).toBe(contentRange);
  expect(part.body).toEqual(whole.subarray(from, to));
});

test('a range of another version of a tile gets the whole one', async () => {
  const part = await binary('tile/0/000').set('Range', 'bytes=0-31').set('If-Range', '"other"');
  expect([part.status, part.body.length]).toEqual([200, 8192]);
});

test('a partial tile that has become full is still served, cut from it', async () => {
  const full = await binary('tile/data/000');
  const partial = await binary('tile/data/000.p/3');
  expect(decodeDataTile(partial.body)).toHaveLength(3);
  expect(full.body.subarray(0, partial.body.length)).toEqual(partial.body);
  expect((await binary('tile/0/000.p/3')).body).toEqual((await binary('tile/0/000')).body.subarray(0, 96));
});

test.each([
  'tile/0/..%2f..%2f.writer%2fcommitted',
  'tile/../.writer/committed',
  '.writer/committed',
  'tile/0/999',
  'tile/0/000.p/0',
  'tile/9/000',
  'issuer/..%2fcheckpoint',
  `issuer/${'0'.repeat(64)}`,
  'issuer/ABC',
])('%s is not found', async (path) => {
  const { status } = await get(path);
  expect(status).toBe(404);
});

test.each([
  ['get', 'ct/v1/add-chain'],
  ['post', 'ct/v1/get-sth'],
  ['delete', 'checkpoint'],
] as const)('%s %s is no method of it', async (method, path) => {
  const { body } = await request(app)[method](`/ctlog/${path}`);
  expect(body.reason).toBe('METHOD_NOT_ALLOWED');
});

test('the whole log stands up to the checker', async () => {
  const { size } = await checkLog(join(directory.path, 'log'), publicKey, origin);
  expect(size).toBe(log.treeHead().size);
});
