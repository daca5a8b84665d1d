import type { AppError } from '../errors.js';
import { isHttpUrl } from './ct-logs.js';
import type { FlagName } from './flags.js';

/** Where traces go, and which requests are traced. */
export interface TracingSettings {
  /** Full URL that takes OTLP over HTTP, `/v1/traces` included. */
  readonly url: string;
  /** `parent`: as the caller decided, and by `ratio` where none did; `ratio`: by that alone. */
  readonly sampler: 'parent' | 'ratio';
  /** Share of the traces, 0 to 1. */
  readonly ratio: number;
  /** Whether spans say who asked: subject and name in the certificate. */
  readonly identities: boolean;
}

/** How settings are read; see serveConfig. */
interface Reader {
  text(name: FlagName): string;
  optional(name: FlagName): string | undefined;
  boolean(name: FlagName): boolean;
  oneOf<const T extends string>(name: FlagName, allowed: readonly T[]): T;
  wrong(name: FlagName, expected: string): AppError;
}

const tracesPath = '/v1/traces';

/** The settings of --otlp-endpoint and its companions; undefined without it. Throws AppError STARTUP naming the flag. */
export function tracingSettings(read: Reader): TracingSettings | undefined {
  const endpoint = read.optional('otlp-endpoint');
  const sampler = read.oneOf('trace-sampler', ['parent', 'ratio']);
  const ratio = Number(read.text('trace-ratio'));
  if (!(/^\d*\.?\d+$/.test(read.text('trace-ratio')) && ratio <= 1)) {
    throw read.wrong('trace-ratio', 'a share of the requests from 0 to 1, such as 0.05');
  }
  const identities = read.boolean('trace-identities');
  if (endpoint === undefined) return undefined;
  if (!isHttpUrl(endpoint) || /[?#\s@]/.test(endpoint)) {
    throw read.wrong(
      'otlp-endpoint',
      'an http or https URL without user, query and fragment, such as http://collector:4318',
    );
  }
  return { url: tracesUrl(endpoint), sampler, ratio, identities };
}

/** As OTEL_EXPORTER_OTLP_ENDPOINT is read: a base to which the path of the signal is added. */
function tracesUrl(endpoint: string): string {
  const base = endpoint.replace(/\/+$/, '');
  return base.endsWith(tracesPath) ? base : `${base}${tracesPath}`;
}
