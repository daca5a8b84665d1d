import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type Context,
  defaultTextMapGetter,
  defaultTextMapSetter,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-node';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { TracingSettings } from '../config/telemetry.js';
import { type AppError, toAppError } from '../errors.js';
import { countedExporter } from './exporter.js';
import type { SpanAttributes, TracedRequest, TracePoint, Tracing } from './tracing.js';

export interface OtelDeps {
  readonly version: string;
  /** What tells this process from others of the service: its host name. */
  readonly instance: string;
  readonly registry: Registry;
  readonly logger: Pick<Logger, 'warn'>;
  /** Milliseconds since the epoch, with fractions. */
  readonly now?: () => number;
  readonly exporter?: SpanExporter;
}

/** How long a shutdown waits for the collector, and an export for its answer, in milliseconds. */
const closeMs = 3_000;
const exportTimeoutMs = 2_500;
const batch = {
  maxQueueSize: 8_192,
  maxExportBatchSize: 512,
  scheduledDelayMillis: 1_000,
  exportTimeoutMillis: exportTimeoutMs,
};

const preciseNow = (): number => performance.timeOrigin + performance.now();
const propagator = new W3CTraceContextPropagator();

/**
 * Traces by OpenTelemetry, sent to a collector as OTLP over HTTP. Nothing global is registered. The queue of finished
 * spans is bounded, and what a collector does not take is dropped and counted. Headers for the collector and its TLS
 * files come from the variables OTEL_EXPORTER_OTLP_HEADERS, …_CERTIFICATE and so on, attributes of the service from
 * OTEL_RESOURCE_ATTRIBUTES.
 */
export function openTracing(settings: TracingSettings, deps: OtelDeps): Tracing {
  const exporter = deps.exporter ?? new OTLPTraceExporter({ url: settings.url, timeoutMillis: exportTimeoutMs });
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({
      'service.name': 'mayfly',
      'service.version': deps.version,
      'service.instance.id': deps.instance,
    }),
    sampler: samplerOf(settings),
    spanProcessors: [new BatchSpanProcessor(countedExporter(exporter, deps), batch)],
  });
  return new OtelTracing(provider, settings.identities, deps);
}

function samplerOf({ sampler, ratio }: TracingSettings): Sampler {
  const root = new TraceIdRatioBasedSampler(ratio);
  return sampler === 'ratio' ? root : new ParentBasedSampler({ root });
}

class OtelTracing implements Tracing {
  readonly identities: boolean;
  readonly #provider: BasicTracerProvider;
  readonly #tracer: Tracer;
  readonly #active = new AsyncLocalStorage<Context>();
  readonly #now: () => number;

  constructor(provider: BasicTracerProvider, identities: boolean, { version, now = preciseNow }: OtelDeps) {
    this.identities = identities;
    this.#provider = provider;
    this.#tracer = provider.getTracer('mayfly', version);
    this.#now = now;
  }

  request<T>(request: TracedRequest, work: (traceparent: string) => Promise<T>): Promise<T> {
    const { name, traceparent, tracestate, attributes } = request;
    const carrier = { ...(traceparent && { traceparent }), ...(tracestate && { tracestate }) };
    const parent = propagator.extract(ROOT_CONTEXT, carrier, defaultTextMapGetter);
    const options = { kind: SpanKind.SERVER, attributes, startTime: this.#now() };
    const span = this.#tracer.startSpan(name, options, parent);
    const context = trace.setSpan(parent, span);
    return this.#run(span, context, () => work(headersOf(context).traceparent ?? ''), request.ended);
  }

  span<T>(name: string, attributes: SpanAttributes, work: () => Promise<T>): Promise<T> {
    const parent = this.#active.getStore();
    if (parent === undefined) return work();
    const span = this.#tracer.startSpan(name, { attributes, startTime: this.#now() }, parent);
    return this.#run(span, trace.setSpan(parent, span), work);
  }

  past(name: string, seconds: number, attributes?: SpanAttributes, agoSeconds = 0, point?: TracePoint): void {
    const parent = point === undefined ? this.#active.getStore() : (point as Point).context;
    if (parent === undefined || !isRecording(parent)) return;
    const end = this.#now() - agoSeconds * 1000;
    const options = { startTime: end - seconds * 1000, ...(attributes === undefined ? {} : { attributes }) };
    this.#tracer.startSpan(name, options, parent).end(end);
  }

  annotate(attributes: SpanAttributes): void {
    const context = this.#active.getStore();
    if (context !== undefined) trace.getSpan(context)?.setAttributes(attributes);
  }

  point(): Point | undefined {
    const context = this.#active.getStore();
    return context !== undefined && isRecording(context) ? { context } : undefined;
  }

  headers(): Readonly<Record<string, string>> {
    const context = this.#active.getStore();
    return context === undefined ? {} : headersOf(context);
  }

  async close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const outOfPatience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, closeMs);
    });
    await Promise.race([this.#provider.shutdown().catch(() => undefined), outOfPatience]);
    clearTimeout(timer);
  }

  async #run<T>(
    span: Span,
    context: Context,
    work: () => Promise<T>,
    ended?: (error: AppError | undefined) => SpanAttributes,
  ): Promise<T> {
    try {
      const result = await this.#active.run(context, work);
      if (ended !== undefined) span.setAttributes(ended(undefined));
      return result;
    } catch (thrown) {
      const error = toAppError(thrown);
      span.setAttributes({ 'error.type': error.code, ...ended?.(error) });
      // What the caller did wrong is no error of this server's (OpenTelemetry's convention for server spans).
      if (ended === undefined || error.httpStatus >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
      throw thrown;
    } finally {
      span.end(this.#now());
    }
  }
}

interface Point {
  readonly context: Context;
}

function isRecording(context: Context): boolean {
  return trace.getSpan(context)?.isRecording() === true;
}

function headersOf(context: Context): Record<string, string> {
  const headers: Record<string, string> = {};
  propagator.inject(context, headers, defaultTextMapSetter);
  return headers;
}
