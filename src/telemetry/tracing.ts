import type { AppError } from '../errors.js';

export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** A request that came in, as its span tells of it. */
export interface TracedRequest {
  readonly name: string;
  /** The caller's headers of W3C Trace Context, as they came. */
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
  readonly attributes: SpanAttributes;
  /** What its end adds, given why it failed, if it did. */
  readonly ended: (error: AppError | undefined) => SpanAttributes;
}

/** A place in a trace to which spans can be added later. */
export type TracePoint = object;

/**
 * Makes the spans of requests. What is not sampled costs next to nothing, nothing here throws for want of a collector, and
 * a server without tracing has none of it.
 */
export interface Tracing {
  /** Runs `work` in a span of its own, below the caller's if there is one; `work` gets the traceparent to answer with. */
  request<T>(request: TracedRequest, work: (traceparent: string) => Promise<T>): Promise<T>;
  /** Runs `work` in a span below the one under way; without one, without a span. */
  span<T>(name: string, attributes: SpanAttributes, work: () => Promise<T>): Promise<T>;
  /** Adds a span that took `seconds` and ended `agoSeconds` ago, at `point` or below the one under way. */
  past(name: string, seconds: number, attributes?: SpanAttributes, agoSeconds?: number, point?: TracePoint): void;
  /** Adds to the span under way. */
  annotate(attributes: SpanAttributes): void;
  /** Where the caller is; undefined where nothing is sampled. */
  point(): TracePoint | undefined;
  /** Headers for a request to another service, so that its spans join the trace. */
  headers(): Readonly<Record<string, string>>;
  /** Whether spans may say who asked: subject and name of the certificate. */
  readonly identities: boolean;
  /** Sends what is left, for a few seconds at most. Never rejects. */
  close(): Promise<void>;
}

/** `work` in a span, or as it is. */
export function inSpan<T>(
  tracing: Tracing | undefined,
  name: string,
  attributes: SpanAttributes,
  work: () => Promise<T>,
): Promise<T> {
  return tracing === undefined ? work() : tracing.span(name, attributes, work);
}
