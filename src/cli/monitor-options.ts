import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseDuration } from '../config/duration.js';
import { isLogKey } from '../ct/digitally-signed.js';
import { AppError, messageOf } from '../errors.js';
import { type Criteria, createMatcher, extensionFields, type Matcher, type Pattern } from '../monitor/matcher.js';
import type { LogType } from '../monitor/source.js';
import { PolicyError } from '../policy/verdict.js';
import { decodePemAll } from '../x509/pem.js';
import { parseTrustedRoot } from './request-trust.js';

/** The flags as they were written. */
export interface MonitorFlags {
  readonly publicKey?: string;
  readonly trustedRoot?: string;
  readonly type: string;
  readonly origin?: string;
  readonly identity?: readonly string[];
  readonly identityGlob?: readonly string[];
  readonly identityRegexp?: readonly string[];
  readonly subjectRegexp?: readonly string[];
  readonly issuer?: readonly string[];
  readonly issuerGlob?: readonly string[];
  readonly issuerRegexp?: readonly string[];
  readonly extension?: readonly string[];
  readonly extensionGlob?: readonly string[];
  readonly extensionRegexp?: readonly string[];
  readonly issuingCa?: readonly string[];
  readonly ignoreCase?: boolean;
  readonly all?: boolean;
  readonly state?: string;
  readonly once?: boolean;
  readonly from: string;
  readonly interval: string;
  readonly maxAge: string;
  readonly rate: string;
  readonly parallel: string;
  readonly timeout: string;
  readonly json?: boolean;
  readonly output?: string;
  readonly webhook?: string;
  readonly webhookSecretFile?: string;
  readonly metricsPort?: string;
  readonly metricsHost: string;
  readonly peer?: readonly string[];
}

/** What the flags mean; durations in milliseconds. */
export interface MonitorSettings {
  readonly url: string;
  /** DER SubjectPublicKeyInfo: one of them is the log's. */
  readonly keys: readonly Uint8Array[];
  readonly type: LogType | undefined;
  readonly origin: string | undefined;
  readonly criteria: Criteria;
  readonly matcher: Matcher;
  /** Hash of the criteria. */
  readonly criteriaHash: string;
  readonly statePath: string | undefined;
  readonly once: boolean;
  readonly from: number | 'now';
  readonly intervalMs: number;
  readonly maxAgeMs: number;
  readonly timeoutMs: number;
  readonly requestsPerSecond: number;
  readonly parallel: number;
  readonly json: boolean;
  readonly output: string | undefined;
  readonly webhook: string | undefined;
  readonly webhookSecret: Uint8Array | undefined;
  readonly metricsHost: string;
  readonly metricsPort: number | undefined;
  readonly peers: readonly string[];
}

const types: Readonly<Record<string, LogType | undefined>> = {
  auto: undefined,
  'static-ct': 'static-ct',
  rfc6962: 'rfc6962',
};

/** Reads the flags and the files they name; throws AppError STARTUP naming the flag. */
export function monitorSettings(url: string, flags: MonitorFlags): MonitorSettings {
  if (!(flags.type in types)) throw wrong('type', `is "${flags.type}"; expected auto, static-ct or rfc6962`);
  const criteria = criteriaOf(flags);
  return {
    url: httpUrl('URL', url),
    keys: keysOf(url, flags),
    type: types[flags.type],
    origin: flags.origin,
    criteria,
    matcher: matcherOf(criteria),
    criteriaHash: createHash('sha256').update(JSON.stringify(criteria)).digest('hex').slice(0, 16),
    statePath: flags.state,
    once: flags.once === true,
    from: flags.from === 'now' ? 'now' : whole('from', flags.from, 0, 2 ** 40, ' or "now"'),
    intervalMs: duration('interval', flags.interval),
    maxAgeMs: duration('max-age', flags.maxAge),
    timeoutMs: duration('timeout', flags.timeout),
    requestsPerSecond: whole('rate', flags.rate, 1, 1000),
    parallel: whole('parallel', flags.parallel, 1, 64),
    json: flags.json === true,
    output: flags.output,
    webhook: flags.webhook === undefined ? undefined : httpUrl('--webhook', flags.webhook),
    webhookSecret: secretOf(flags),
    metricsHost: flags.metricsHost,
    metricsPort: flags.metricsPort === undefined ? undefined : whole('metrics-port', flags.metricsPort, 0, 65_535),
    peers: (flags.peer ?? []).map((peer) => httpUrl('--peer', peer)),
  };
}

function criteriaOf(flags: MonitorFlags): Criteria {
  const patterns = (kind: Pattern['kind'], ...lists: readonly (readonly string[] | undefined)[]): Pattern[] =>
    lists.flatMap((list) => (list ?? []).map((text) => ({ kind, text })));
  const extensions: Record<string, Pattern[]> = {};
  for (const [flag, kind, given] of [
    ['extension', 'exact', flags.extension],
    ['extension-glob', 'glob', flags.extensionGlob],
    ['extension-regexp', 'regexp', flags.extensionRegexp],
  ] as const) {
    for (const text of given ?? []) addExtension(extensions, flag, kind, text);
  }
  return {
    identities: [
      ...patterns('exact', flags.identity),
      ...patterns('glob', flags.identityGlob),
      ...patterns('regexp', flags.identityRegexp, flags.subjectRegexp),
    ],
    issuers: [
      ...patterns('exact', flags.issuer),
      ...patterns('glob', flags.issuerGlob),
      ...patterns('regexp', flags.issuerRegexp),
    ],
    extensions,
    cas: (flags.issuingCa ?? []).flatMap(certificatesOf),
    ignoreCase: flags.ignoreCase === true,
    all: flags.all === true,
  };
}

function matcherOf(criteria: Criteria): Matcher {
  try {
    return createMatcher(criteria);
  } catch (cause) {
    if (!(cause instanceof PolicyError)) throw cause;
    throw new AppError('STARTUP', cause.message.replace('ignore-case: true beside it', '--ignore-case'), { cause });
  }
}

function addExtension(to: Record<string, Pattern[]>, flag: string, kind: Pattern['kind'], given: string): void {
  const at = given.indexOf('=');
  const name = given.slice(0, Math.max(at, 0));
  if (at < 0) throw wrong(flag, `is "${given}"; expected NAME=VALUE`);
  if (!extensionFields.has(name)) {
    throw wrong(flag, `there is no extension "${name}"; expected one of ${[...extensionFields].join(', ')}`);
  }
  to[name] = [...(to[name] ?? []), { kind, text: given.slice(at + 1) }];
}

function certificatesOf(path: string): readonly Uint8Array[] {
  try {
    const ders = decodePemAll(readFileSync(path), 'CERTIFICATE');
    for (const der of ders) new X509Certificate(der);
    if (ders.length > 0) return ders;
  } catch (cause) {
    throw wrong('issuing-ca', `${path} cannot be used: ${messageOf(cause)}`, cause);
  }
  throw wrong('issuing-ca', `${path} holds no PEM certificate`);
}

function keysOf(url: string, { publicKey, trustedRoot }: MonitorFlags): readonly Uint8Array[] {
  if (publicKey !== undefined) return [keyOf(publicKey)];
  if (trustedRoot === undefined) {
    const where = 'as PEM with --public-key FILE, or in a trusted_root.json with --trusted-root FILE';
    throw new AppError('STARTUP', `by which key are the heads of ${url} to be checked? Give it ${where}`);
  }
  try {
    const { logs } = parseTrustedRoot(readFileSync(trustedRoot, 'utf8'));
    if (logs.length > 0) return logs.map((log) => log.publicKey);
  } catch (cause) {
    throw wrong('trusted-root', `${trustedRoot} cannot be used: ${messageOf(cause)}`, cause);
  }
  throw wrong('trusted-root', `${trustedRoot} names no transparency log`);
}

function keyOf(path: string): Uint8Array {
  try {
    const key = createPublicKey(readFileSync(path));
    if (!isLogKey(key)) throw new TypeError('it is neither ECDSA P-256 nor RSA of 2048 bits or more');
    return key.export({ type: 'spki', format: 'der' });
  } catch (cause) {
    throw wrong('public-key', `${path} cannot be used: ${messageOf(cause)}`, cause);
  }
}

function secretOf({ webhook, webhookSecretFile: path }: MonitorFlags): Uint8Array | undefined {
  if (path === undefined) return undefined;
  if (webhook === undefined) throw wrong('webhook-secret-file', 'is given without --webhook');
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw wrong('webhook-secret-file', `${path} cannot be read: ${messageOf(cause)}`, cause);
  }
  if (text.length < 16)
    throw wrong('webhook-secret-file', `${path} holds ${text.length} characters; expected 16 or more`);
  return Buffer.from(text);
}

function httpUrl(flag: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.hash === '') return text;
  throw new AppError('STARTUP', `${flag} is "${text}"; expected an http or https URL`);
}

function duration(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= 1 && ms <= 2 ** 31 - 1) return ms;
  throw wrong(flag, `is "${text}"; expected a duration such as 90s, 5m or 24h, up to 24 days`);
}

function whole(flag: string, text: string, low: number, high: number, or = ''): number {
  const value = /^\d{1,13}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= low && value <= high) return value;
  throw wrong(flag, `is "${text}"; expected a whole number from ${low} to ${high}${or}`);
}

function wrong(flag: string, found: string, cause?: unknown): AppError {
  return new AppError('STARTUP', `--${flag}: ${found}`, { cause });
}
