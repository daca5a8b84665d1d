import { ExportResultCode } from '@opentelemetry/core';
import type { SpanExporter } from '@opentelemetry/sdk-trace-node';
import type { Logger } from 'pino';
import { Counter, type Registry } from 'prom-client';
import { messageOf } from '../errors.js';

export interface ExporterDeps {
  readonly registry: Registry;
  readonly logger: Pick<Logger, 'warn'>;
}

const quietMs = 60_000;

/** An exporter whose batches are counted; that it fails is said once a minute at most, and is nobody else's trouble. */
export function countedExporter(exporter: SpanExporter, { registry, logger }: ExporterDeps): SpanExporter {
  const spansTotal = new Counter({
    name: 'mayfly_trace_spans_total',
    help: 'Spans sent to the collector, by result: exported, or failed and dropped',
    labelNames: ['result'],
    registers: [registry],
  });
  let saidAt = Number.NEGATIVE_INFINITY;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        const isExported = result.code === ExportResultCode.SUCCESS;
        spansTotal.inc({ result: isExported ? 'exported' : 'failed' }, spans.length);
        if (!isExported && performance.now() - saidAt > quietMs) {
          saidAt = performance.now();
          logger.warn(
            `spans could not be sent to --otlp-endpoint and are dropped: ${messageOf(result.error ?? 'it failed')}`,
          );
        }
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
  };
}
