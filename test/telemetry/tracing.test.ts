import { sign } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { caService } from '../../src/grpc/definitions.js';
import type { RunningServer } from '../../src/server/start.js';
import { call, closeAll, connect, methodOf } from '../grpc/support.js';
import { emailConfig, eventually, start, temporary } from '../server/lab.js';
import { type Answer, newKey, post, v2Body } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from './otlp-receiver.js';

const jane = { email: 'jane@example.com', email_verified: true, sub: 'subject-of-jane' };
const traceId = '0af7651916cd43dd8448eb211c80319c';
const callerSpan = 'b7ad6b7169203331';
const sampled = `00-${traceId}-${callerSpan}-01`;
const notSampled = `00-${traceId}-${callerSpan}-00`;

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await startIssuer();
});
afterAll(() => issuer.close());

interface Traced {
  readonly server: RunningServer;
  readonly receiver: OtlpReceiver;
  readonly lines: string[];
  ask(headers?: Record<string, string>, token?: string): Promise<Answer>;
  /** Ends the server, which sends what it has. */
  end(): Promise<readonly ReceivedSpan[]>;
}

async function traced(flags: Record<string, string> = {}, answer: number | 'hang' = 200): Promise<Traced> {
  const receiver = await startOtlpReceiver(answer);
  const dir = temporary();
  const lines: string[] = [];
  const all = {
    'data-dir': join(dir, 'data'),
    'config-path': emailConfig(dir, issuer.url),
    'otlp-endpoint': receiver.url,
  };
  const server = await start({ ...all, ...flags }, lines);
  return {
    server,
    receiver,
    lines,
    async ask(headers = {}, token) {
      return post(`${server.url}/api/v2/signingCert`, v2Body(token ?? (await issuer.token(jane)), jane.email), headers);
    },
    async end() {
      await server.close();
      await receiver.close();
      return receiver.spans();
    },
  };
}

const named = (spans: readonly ReceivedSpan[], name: string): ReceivedSpan[] =>
  spans.filter((span) => span.name === name);

describe('a traced request', () => {
  let spans: readonly ReceivedSpan[];
  let answer: Answer;
  let lab: Traced;
  beforeAll(async () => {
    lab = await traced();
    answer = await lab.ask({ traceparent: sampled, tracestate: 'vendor=1' });
    spans = await lab.end();
  });

  test('gets its certificate and is told its place in the trace', () => {
    expect(answer.status).toBe(200);
    expect(answer.headers.get('traceparent')).toMatch(new RegExp(`^00-${traceId}-(?!${callerSpan})[0-9a-f]{16}-01$`));
  });

  test.each([
    'POST /api/v2/signingCert',
    'keys fetch',
    'token',
    'policy',
    'proof',
    'sign',
    'log',
    'log submit',
    'log commit',
  ])('has a span "%s" in the trace of its caller', (name) => {
    const [span] = named(spans, name);
    expect(span?.traceId).toBe(traceId);
    expect((span?.endNs ?? 0n) >= (span?.startNs ?? 1n)).toBe(true);
  });

  test('hangs below the span of the caller, and its steps below it', () => {
    const [root] = named(spans, 'POST /api/v2/signingCert');
    expect(root?.parentSpanId).toBe(callerSpan);
    expect(root?.attributes).toMatchObject({ 'http.request.method': 'POST', 'http.response.status_code': 200 });
    const [submit] = named(spans, 'log submit');
    for (const span of spans.filter((other) => other !== root)) {
      expect([span.name, span.parentSpanId]).toEqual([span.name, (span.name === 'log commit' ? submit : root)?.spanId]);
    }
    expect(answer.headers.get('traceparent')).toContain(String(root?.spanId));
  });

  test('has steps that lie within the request', () => {
    const [root] = named(spans, 'POST /api/v2/signingCert');
    const slackNs = 2_000_000n; // the clock of a step begins before the one of its span
    for (const { startNs, endNs } of spans) {
      expect(startNs + slackNs >= (root?.startNs ?? 0n)).toBe(true);
      expect(endNs <= (root?.endNs ?? 0n) + slackNs).toBe(true);
    }
  });

  test('says which service it is, and nothing of who asked, with what token and for which key', () => {
    expect(lab.receiver.resource()).toMatchObject({ 'service.name': 'mayfly' });
    const text = lab.receiver.bodies.join('');
    expect(text).not.toMatch(/jane|subject-of-jane|eyJ|BEGIN/);
  });
});

test('--trace-identities lets the span of the request name who asked', async () => {
  const lab = await traced({ 'trace-identities': 'true' });
  await lab.ask();
  const [root] = named(await lab.end(), 'POST /api/v2/signingCert');
  expect(root?.attributes).toMatchObject({ 'mayfly.san': jane.email, 'mayfly.issuer': issuer.url });
  expect(root?.parentSpanId).toBeUndefined();
});

test('a refused request has its reason in the span, and is no error of the server', async () => {
  const lab = await traced();
  expect((await lab.ask({}, 'not.a.token')).status).toBe(400);
  const [root] = named(await lab.end(), 'POST /api/v2/signingCert');
  expect(root).toMatchObject({
    status: 0,
    attributes: { 'error.type': 'TOKEN_MALFORMED', 'http.response.status_code': 400 },
  });
});

test('a gRPC call is traced by its metadata and answered with the traceparent', async () => {
  const lab = await traced();
  const key = newKey();
  const proof = sign('sha256', Buffer.from(jane.email), key.privateKey);
  const message = {
    credentials: { oidc_identity_token: await issuer.token(jane) },
    public_key_request: { public_key: { content: key.publicKeyPem }, proof_of_possession: proof },
  };
  const method = methodOf(caService, 'CreateSigningCertificate');
  const client = connect(lab.server.grpcPort);
  const outcome = await call(client, method, message, { metadata: { traceparent: sampled } });
  await closeAll();
  expect(outcome).toMatchObject({ code: 0 });
  expect(outcome.headers.get('traceparent')[0]).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
  const [root] = named(await lab.end(), 'dev.sigstore.fulcio.v2.CA/CreateSigningCertificate');
  expect(root).toMatchObject({ traceId, parentSpanId: callerSpan });
  expect(root?.attributes).toMatchObject({ 'rpc.system': 'grpc', 'rpc.grpc.status_code': 0 });
});

test.each([
  ['the caller does not want one', {}, notSampled, false],
  ['the caller wants one and the ratio is 0', { 'trace-ratio': '0' }, sampled, true],
  ['nobody says and the ratio is 0', { 'trace-ratio': '0' }, undefined, false],
  ['nobody says and the ratio is 1', {}, undefined, true],
  ['the ratio alone decides, and is 0', { 'trace-sampler': 'ratio', 'trace-ratio': '0' }, sampled, false],
  ['the ratio alone decides, and is 1', { 'trace-sampler': 'ratio' }, notSampled, true],
])('when %s, a trace is sent: %p %p %p', async (_what, flags, traceparent, expected) => {
  const lab = await traced(flags);
  const answer = await lab.ask(traceparent === undefined ? {} : { traceparent });
  expect(answer.status).toBe(200);
  expect(answer.headers.get('traceparent')).toMatch(expected ? /-01$/ : /-00$/);
  expect((await lab.end()).length > 0).toBe(expected);
});

describe('a collector that is no good', () => {
  test.each([
    ['answers 500', 500],
    ['answers 400', 400],
    ['never answers', 'hang'],
  ] as const)('and %s stops no issuance and no shutdown', async (_what, how) => {
    const lab = await traced({}, how);
    expect((await lab.ask()).status).toBe(200);
    if (how === 400) {
      const failed = async (): Promise<boolean> =>
        /mayfly_trace_spans_total\{result="failed"\} [1-9]/.test(await (await fetch(lab.server.metricsUrl)).text());
      await eventually(failed);
      expect(lab.lines.join('')).toContain('spans could not be sent');
    }
    expect((await lab.ask()).status).toBe(200);
    await lab.end();
  });

  test('because nothing listens there stops no issuance and no shutdown', async () => {
    const lab = await traced();
    await lab.receiver.close();
    expect((await lab.ask()).status).toBe(200);
    await lab.server.close();
  });
});

test('whatever a caller sends as its trace, the request is answered as it would be without', async () => {
  const lab = await traced({ 'trace-ratio': '0' });
  const header = fc.oneof(
    fc.string().map((text) => text.replace(/[^\x20-\x7e]/g, '')),
    fc.stringMatching(/^[0-9a-f]{2}-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}$/),
    fc.constantFrom(
      '00-00000000000000000000000000000000-b7ad6b7169203331-01',
      `ff-${traceId}-${callerSpan}-01`,
      `${sampled}-x`,
    ),
  );
  await fc.assert(
    fc.asyncProperty(header, header, async (traceparent, tracestate) => {
      const answer = await lab.ask({ traceparent, tracestate }, 'not.a.token');
      expect(answer.status).toBe(400);
      expect(answer.headers.get('traceparent')).toMatch(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]$/);
    }),
    { numRuns: 60 },
  );
  await lab.end();
});

test('without --otlp-endpoint no code of OpenTelemetry is loaded', () => {
  const source = join(import.meta.dirname, '../../src');
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const using = (text: RegExp): string[] =>
    files.filter((name) => text.test(readFileSync(join(source, name), 'utf8'))).sort();
  expect(using(/from '@opentelemetry\//)).toEqual(['telemetry/exporter.ts', 'telemetry/otel.ts']);
  expect(using(/^import (?!type).*telemetry\/(otel|exporter)\.js/m)).toEqual([]);
  expect(using(/from '\.\/(otel|exporter)\.js'/)).toEqual(['telemetry/otel.ts']);
});
