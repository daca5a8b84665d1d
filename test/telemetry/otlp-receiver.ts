import { createServer } from 'node:http';
import { listen } from '../../src/listen.js';

/** One span as it arrived. */
export interface ReceivedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** 0 unset, 1 ok, 2 error. */
  readonly status: number;
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** A collector on loopback that takes OTLP/HTTP with JSON (opentelemetry-proto, trace_service.proto). */
export interface OtlpReceiver {
  readonly url: string;
  /** What it was sent, as text. */
  readonly bodies: readonly string[];
  spans(): readonly ReceivedSpan[];
  resource(): Readonly<Record<string, unknown>>;
  close(): Promise<void>;
}

interface KeyValue {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}
interface WireSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly status?: { readonly code?: number };
  readonly attributes?: readonly KeyValue[];
}
interface Payload {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly KeyValue[] };
    readonly scopeSpans: readonly { readonly spans: readonly WireSpan[] }[];
  }[];
}

/** `answer`: the status of each answer, or `hang` for none at all. */
export async function startOtlpReceiver(answer: number | 'hang' = 200): Promise<OtlpReceiver> {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const isTraces = request.method === 'POST' && request.url === '/v1/traces';
      if (isTraces) bodies.push(Buffer.concat(chunks).toString('utf8'));
      if (answer === 'hang') return;
      response.writeHead(isTraces ? answer : 404, { 'Content-Type': 'application/json' }).end('{}');
    });
  });
  const port = await listen(server, '127.0.0.1', 0, 'the receiver');
  const payloads = (): Payload[] => bodies.map((body) => JSON.parse(body) as Payload);
  return {
    url: `http://127.0.0.1:${port}`,
    bodies,
    spans: () =>
      payloads()
        .flatMap(({ resourceSpans }) => resourceSpans)
        .flatMap(({ scopeSpans }) => scopeSpans)
        .flatMap(({ spans }) => spans)
        .map(toSpan),
    resource: () => toObject(payloads()[0]?.resourceSpans[0]?.resource.attributes ?? []),
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function toSpan(span: WireSpan): ReceivedSpan {
  return {
    name: span.name,
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId === '' ? undefined : span.parentSpanId,
    startNs: BigInt(span.startTimeUnixNano),
    endNs: BigInt(span.endTimeUnixNano),
    status: span.status?.code ?? 0,
    attributes: toObject(span.attributes ?? []),
  };
}

function toObject(attributes: readonly KeyValue[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
