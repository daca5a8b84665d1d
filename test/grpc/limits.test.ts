import { connect as connectHttp2 } from 'node:http2';
import { status } from '@grpc/grpc-js';
import type { Cancellation } from '../../src/cancellation.js';
import type { IssueRequest } from '../../src/issue.js';
import { call, closeAll, connect, createMethod, host, issued, keyRequest, serve } from './support.js';

afterEach(closeAll);

const create = 'dev.sigstore.fulcio.v2.CA/CreateSigningCertificate unary';

/** An issue() that waits for its signal and says why it was given. */
function patientIssue() {
  const ended: { reason: (reason: unknown) => void } = { reason: () => undefined };
  const reason = new Promise<unknown>((resolve) => {
    ended.reason = resolve;
  });
  const issue = (_request: IssueRequest, signal: Cancellation) =>
    new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        ended.reason(signal.reason);
        reject(signal.reason);
      });
    });
  return { issue, reason };
}

describe('time', () => {
  test('a deadline that passes ends the call and the work', async () => {
    const { issue, reason } = patientIssue();
    const { port, handled } = await serve({ issue });

    // Long enough for the call to arrive on a busy machine: one that passes on the way never gets to issue().
    const outcome = await call(connect(port), createMethod, keyRequest, { deadline: Date.now() + 2_000 });

    expect(outcome.code).toBe(status.DEADLINE_EXCEEDED);
    expect(await reason).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    // The client gives up at the same moment; whichever comes first counts.
    expect(await handled()).toEqual([expect.stringMatching(/^(DeadlineExceeded|Canceled) /)]);
  });

  test('a deadline that has passed on arrival issues nothing and is answered with details', async () => {
    const { port, requests, handled } = await serve();

    const trailers = await rawCall(port, { 'grpc-timeout': '1n' }, frame(createMethod.requestSerialize(keyRequest)));

    expect(trailers).toMatchObject({ 'grpc-status': '4', 'grpc-status-details-bin': expect.any(String) });
    expect(requests).toEqual([]);
    expect(await handled()).toEqual([`DeadlineExceeded ${create} 1`]);
  });

  test('work beyond the request timeout ends without a deadline of the client’s', async () => {
    const { issue } = patientIssue();
    const { port } = await serve({ issue, requestTimeoutMs: 30 });

    const outcome = await call(connect(port), createMethod, keyRequest);

    expect(outcome).toMatchObject({ code: 4, details: { info: { reason: 'DEADLINE_EXCEEDED' } } });
    expect(outcome.message).toContain('the limit here is 30 ms');
  });

  test('a client that goes away ends the work and counts as canceled', async () => {
    const { issue, reason } = patientIssue();
    const { port, handled } = await serve({ issue });
    const session = connectHttp2(`http://${host}:${port}`);
    const stream = openStream(session, {});
    stream.on('error', () => undefined);
    stream.end(frame(createMethod.requestSerialize(keyRequest)), () => setTimeout(() => stream.close(8), 20));

    expect(await reason).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(await handled()).toEqual([`Canceled ${create} 1`]);
    session.close();
  });

  test('a request that is never finished is given up', async () => {
    const { port, requests } = await serve({ requestTimeoutMs: 30 });

    const trailers = await rawCall(port, {}, Buffer.from([0, 0, 0, 1, 0, 1]), false);

    expect(trailers['grpc-status']).toBe('4');
    expect(decodeURI(String(trailers['grpc-message']))).toContain('it was not sent within 30 ms');
    expect(requests).toEqual([]);
  });
});

describe('size and shape', () => {
  const huge = Buffer.alloc(4 * 1024 * 1024 + 1, 0x61);

  test('a message over 4 MiB is RESOURCE_EXHAUSTED, with details, and counted', async () => {
    const { port, requests, handled } = await serve();

    const outcome = await call(connect(port), createMethod, {}, { raw: huge });

    expect(outcome).toMatchObject({ code: 8, details: { code: 8, info: { reason: 'BODY_TOO_LARGE' } } });
    expect(requests).toEqual([]);
    expect(await handled()).toEqual([`ResourceExhausted ${create} 1`]);
  });

  test('a message of 4 MiB arrives', async () => {
    const { port, requests } = await serve();
    const token = 'x'.repeat(4 * 1024 * 1024 - 100);

    const outcome = await call(connect(port), createMethod, { credentials: { oidc_identity_token: token } });

    expect(outcome.code).toBe(0);
    expect(requests[0]?.token).toHaveLength(token.length);
  });

  test.each([
    { name: 'garbage that says it is gzip', headers: { 'grpc-encoding': 'gzip' }, flag: 1, code: '3' },
    { name: 'an encoding we do not have', headers: { 'grpc-encoding': 'br' }, flag: 1, code: '12' },
    { name: 'a timeout that is none', headers: { 'grpc-timeout': 'soon' }, flag: 0, code: '3' },
  ])('$name is the client’s fault', async ({ headers, flag, code }) => {
    const { port } = await serve({ issue: () => new Promise(() => undefined) });

    const trailers = await rawCall(port, headers, frame(Buffer.from('garbage'), flag));

    expect(trailers).toMatchObject({ 'grpc-status': code, 'grpc-status-details-bin': expect.any(String) });
  });

  test('a message that decompresses to more than 4 MiB is refused', async () => {
    const { gzipSync } = await import('node:zlib');
    const { port, requests } = await serve();

    const trailers = await rawCall(port, { 'grpc-encoding': 'gzip' }, frame(gzipSync(huge), 1));

    expect(trailers['grpc-status']).toBe('8');
    expect(requests).toEqual([]);
  });

  test('a call without a message is refused', async () => {
    const { port } = await serve();

    const trailers = await rawCall(port, {}, Buffer.alloc(0));

    expect(trailers['grpc-status']).toBe('3');
  });

  test('a method nobody has is UNIMPLEMENTED', async () => {
    const { port } = await serve();

    const outcome = await call(connect(port), { ...createMethod, path: '/dev.sigstore.fulcio.v2.CA/Nothing' }, {});

    expect(outcome.code).toBe(status.UNIMPLEMENTED);
  });
});

describe('request ids and counts', () => {
  test.each([
    { name: 'the caller’s own when it is harmless', given: 'abc-1', expected: /^abc-1$/ },
    { name: 'a new one in place of a harmful one', given: 'a b"', expected: /^[0-9a-f]{32}$/ },
    { name: 'a new one when none is given', given: undefined, expected: /^[0-9a-f]{32}$/ },
  ])('the answer carries $name', async ({ given, expected }) => {
    const ids: string[] = [];
    const { port, logs } = await serve({
      async issue(_request, _signal, { requestId }) {
        ids.push(requestId);
        return issued(true);
      },
    });
    const metadata: Record<string, string> = given === undefined ? {} : { 'x-request-id': given };

    const outcome = await call(connect(port), createMethod, keyRequest, { metadata });

    const [id] = outcome.headers.get('x-request-id');
    expect(id).toMatch(expected);
    expect(ids).toEqual([id]);
    expect(logs).toContainEqual(expect.objectContaining({ requestId: id, code: 'OK', msg: 'grpc request' }));
  });

  test('every call is counted once, by code', async () => {
    const { port, handled } = await serve();
    const client = connect(port);

    await call(client, createMethod, keyRequest);
    await call(client, createMethod, keyRequest);
    await call(client, createMethod, {}, { raw: Buffer.from([0xff]) });

    expect(await handled()).toEqual([`OK ${create} 2`, `InvalidArgument ${create} 1`]);
  });

  test('no log line holds the token', async () => {
    const { port, logs } = await serve({ issue: async () => issued(true) });

    await call(connect(port), createMethod, { credentials: { oidc_identity_token: 'secret-token' } });
    await call(connect(port), createMethod, {}, { metadata: { oidcidentitytoken: 'secret-token' } });

    expect(JSON.stringify(logs)).not.toContain('secret-token');
  });
});

/** A gRPC frame: compressed flag, length, message. */
function frame(message: Uint8Array, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

type Session = ReturnType<typeof connectHttp2>;

function openStream(session: Session, headers: Record<string, string>) {
  return session.request({
    ':method': 'POST',
    ':path': createMethod.path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
}

/** A call of bytes that no gRPC library would send; resolves with the trailers (or the headers of an early answer). */
async function rawCall(port: number, headers: Record<string, string>, body: Buffer, end = true) {
  const session = connectHttp2(`http://${host}:${port}`);
  const stream = openStream(session, headers);
  stream.on('error', () => undefined);
  stream.resume();
  const trailers = await new Promise<Record<string, unknown>>((resolve) => {
    stream.once('response', (given) => {
      if ('grpc-status' in given) resolve(given);
    });
    stream.once('trailers', resolve);
    if (end) stream.end(body);
    else stream.write(body);
  });
  stream.close();
  session.close();
  return trailers;
}
