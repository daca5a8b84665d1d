import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import type { TemporalInterval } from '../ct/temporal-interval.js';
import { AppError, messageOf } from '../errors.js';
import { parseDuration } from './duration.js';
import { didYouMean } from './suggestion.js';

/** Text that stands in the configuration, or the file that holds it; `setting` names it in messages. */
export type PemSource = { readonly setting: string } & ({ readonly pem: string } | { readonly path: string });

/** Our own log as one of several. */
export interface EmbeddedLogChoice {
  readonly kind: 'embedded';
  readonly embed: boolean;
}

/** Somebody else's log. */
export interface ExternalLogChoice {
  readonly kind: 'external';
  /** Submission prefix. */
  readonly url: string;
  /** Where the log is read, if not at the submission prefix (static-ct-api). */
  readonly monitoringUrl?: string;
  readonly publicKey: PemSource;
  /** Host header towards the log. */
  readonly origin?: string;
  readonly tlsCa?: PemSource;
  readonly timeoutMs: number;
  /** Whether its SCT may be embedded; if not, it is sent every precertificate and not waited for. */
  readonly embed: boolean;
  /** Which certificates it takes, by their notAfter; without it, all. */
  readonly interval?: TemporalInterval;
}

export type LogChoice = EmbeddedLogChoice | ExternalLogChoice;

/** Which certificate transparency logs give the SCTs. */
export type CtLogChoice =
  | { readonly kind: 'embedded' }
  | { readonly kind: 'none' }
  | {
      readonly kind: 'several';
      readonly logs: readonly LogChoice[];
      /** How many SCTs a certificate carries. */
      readonly required: number;
      /** Where the list came from, if from a file, which may be read again. */
      readonly file?: { readonly path: string; readonly timeoutMs: number };
    };

const embeddedEntry = z.strictObject({ embedded: z.literal(true), embed: z.boolean().default(true) });

const time = z
  .union([z.iso.datetime({ offset: true }), z.iso.date()], { error: 'expected a time such as 2027-01-01T00:00:00Z' })
  .transform((text) => Date.parse(text));
/** Lists of the public web's logs call the ends start_inclusive and end_exclusive. */
const interval = z.strictObject({
  start: time.optional(),
  'start-inclusive': time.optional(),
  end: time.optional(),
  'end-exclusive': time.optional(),
});

const externalEntry = z.strictObject({
  url: z.string(),
  'monitoring-url': z.string().optional(),
  'public-key': z.string(),
  'tls-ca-cert': z.string().optional(),
  timeout: z.string().optional(),
  origin: z.string().optional(),
  'temporal-interval': interval.optional(),
  embed: z.boolean().default(true),
});

const document = z.strictObject({ logs: z.array(z.unknown()).min(1), required: z.int().positive().default(1) });

/**
 * Reads the list of logs of --ct-logs-config, YAML. Paths in it are relative to its directory; `timeoutMs` is for the
 * logs that name no timeout. Throws AppError STARTUP naming the file and the setting that is wrong.
 */
export function readCtLogsFile(file: string, timeoutMs: number): Extract<CtLogChoice, { kind: 'several' }> {
  const { logs, required } = fields(document, readYaml(file), file, Object.keys(document.shape));
  const parsed = logs.map((entry, index) => parseLog(entry, `${file}: logs[${index}]`, { file, timeoutMs }));
  const embedding = parsed.filter(({ embed }) => embed).length;
  if (parsed.filter(({ kind }) => kind === 'embedded').length > 1) {
    throw new AppError('STARTUP', `${file}: logs: "embedded: true" stands twice; there is one embedded log`);
  }
  if (required > embedding) {
    const found = `${embedding} of the logs ${embedding === 1 ? 'is' : 'are'} to be embedded`;
    throw new AppError('STARTUP', `${file}: required is ${required}, but ${found}`);
  }
  return { kind: 'several', logs: parsed, required, file: { path: file, timeoutMs } };
}

/** What the operator of several logs has to know about clients, for the start to say. */
export function ctLogNotices(choice: CtLogChoice): readonly string[] {
  if (choice.kind !== 'several' || choice.required === 1) return [];
  const carried = `certificates carry ${choice.required} SCTs (required: ${choice.required})`;
  return [
    `${carried}: sigstore-python refuses a certificate with more than one, and cosign refuses one with an SCT of a log ` +
      'whose key it was not given',
  ];
}

/** Whether this process writes the embedded log. */
export function usesEmbeddedLog(choice: CtLogChoice): boolean {
  return (
    choice.kind === 'embedded' || (choice.kind === 'several' && choice.logs.some(({ kind }) => kind === 'embedded'))
  );
}

function readYaml(file: string): unknown {
  try {
    return hyphenated(parse(readFileSync(file, 'utf8')));
  } catch (error) {
    throw new AppError('STARTUP', `--ct-logs-config: cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}

/** Log lists are found with names like temporal_interval too: both spellings are taken. */
function hyphenated(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(hyphenated);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key.replaceAll('_', '-'), hyphenated(item)]));
}

interface Context {
  readonly file: string;
  readonly timeoutMs: number;
}

function parseLog(entry: unknown, where: string, context: Context): LogChoice {
  if (typeof entry === 'object' && entry !== null && 'embedded' in entry) {
    const { embed } = fields(embeddedEntry, entry, where, Object.keys(embeddedEntry.shape));
    return { kind: 'embedded', embed };
  }
  const log = fields(externalEntry, entry, where, Object.keys(externalEntry.shape));
  const { url, origin, embed, 'monitoring-url': monitoringUrl, 'tls-ca-cert': tlsCa, timeout } = log;
  requireHttpUrl(url, `${where}.url`);
  if (monitoringUrl !== undefined) requireHttpUrl(monitoringUrl, `${where}.monitoring-url`);
  const timeoutMs = timeout === undefined ? context.timeoutMs : parseDuration(timeout);
  if (timeoutMs === undefined || timeoutMs <= 0) {
    throw new AppError(
      'STARTUP',
      `${where}.timeout is "${timeout}"; expected a duration above zero such as 500ms or 8s`,
    );
  }
  return {
    kind: 'external',
    url,
    publicKey: pemSource(log['public-key'], `${where}.public-key`, context.file),
    timeoutMs,
    embed,
    ...parseInterval(log['temporal-interval'], `${where}.temporal-interval`),
    ...(monitoringUrl === undefined ? {} : { monitoringUrl }),
    ...(origin === undefined ? {} : { origin }),
    ...(tlsCa === undefined ? {} : { tlsCa: pemSource(tlsCa, `${where}.tls-ca-cert`, context.file) }),
  };
}

function parseInterval(given: z.infer<typeof interval> | undefined, where: string): { interval?: TemporalInterval } {
  if (given === undefined) return {};
  const start = given.start ?? given['start-inclusive'];
  const end = given.end ?? given['end-exclusive'];
  if (start === undefined && end === undefined) throw new AppError('STARTUP', `${where} has neither start nor end`);
  if (start !== undefined && end !== undefined && start >= end) {
    const found = `starts at ${new Date(start).toISOString()} and ends at ${new Date(end).toISOString()}`;
    throw new AppError('STARTUP', `${where} ${found}; expected a start before the end`);
  }
  return { interval: { ...(start === undefined ? {} : { start }), ...(end === undefined ? {} : { end }) } };
}

function pemSource(given: string, setting: string, file: string): PemSource {
  return given.includes('-----BEGIN ') ? { setting, pem: given } : { setting, path: resolve(dirname(file), given) };
}

function requireHttpUrl(url: string, where: string): void {
  if (isHttpUrl(url)) return;
  throw new AppError('STARTUP', `${where} is "${url}"; expected an http or https URL`);
}

export function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && ['http:', 'https:'].includes(new URL(text).protocol);
}

function fields<T>(schema: z.ZodType<T>, value: unknown, where: string, known: readonly string[]): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  if (issue?.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    throw new AppError('STARTUP', `${where}: unknown setting "${key}"${didYouMean(key, known)}`);
  }
  const path = issue?.path.join('.') ?? '';
  throw new AppError('STARTUP', `${where}${path === '' ? '' : `: ${path}`}: ${issue?.message ?? 'cannot be read'}`);
}
