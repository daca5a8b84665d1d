import { AppError } from '../errors.js';
import { type FlagName, type FlagValues, flagNames, flagRow } from './flags.js';

/** Which certificate authority signs. */
export type CaChoice =
  | { readonly kind: 'data-directory' }
  | { readonly kind: 'ephemeral' }
  | { readonly kind: 'file'; readonly certPath: string; readonly keyPath: string; readonly password?: string };

/** Which certificate transparency log gives the SCT. */
export type CtLogChoice =
  | { readonly kind: 'embedded' }
  | { readonly kind: 'none' }
  | {
      readonly kind: 'external';
      readonly url: string;
      readonly publicKeyPath: string;
      readonly origin?: string;
      readonly tlsCaPath?: string;
      readonly timeoutMs: number;
    };

export interface TlsFiles {
  readonly certificatePath: string;
  readonly keyPath: string;
}

/** The validated settings of one `mayfly serve`. Times are in milliseconds. */
export interface ServeConfig {
  readonly http: { readonly host: string; readonly port: number; readonly tls?: TlsFiles };
  readonly grpc: { readonly host: string; readonly port: number; readonly tls?: TlsFiles };
  readonly metrics: { readonly host: string; readonly port: number };
  readonly identityConfigPath: string;
  readonly identityConfigGiven: boolean;
  readonly ca: CaChoice;
  readonly ctLog: CtLogChoice;
  readonly clientSigningAlgorithms?: readonly string[];
  readonly dataDir: string;
  readonly ctlogDir?: string;
  readonly publicUrl?: string;
  readonly certificateLifetimeMs: number;
  readonly requestTimeoutMs: number;
  readonly readHeaderTimeoutMs: number;
  readonly idleConnectionTimeoutMs: number;
  readonly allowPrivateIssuers: boolean;
  readonly tokenReuse: 'allow' | 'deny';
  readonly logType: 'dev' | 'prod';
  readonly logLevel: string;
  /** Lines to tell the operator at start: flags that were taken and have no effect. */
  readonly notices: readonly string[];
}

const plannedCas: Readonly<Record<string, string>> = {
  pkcs11ca: 'PKCS#11 keys are not supported yet',
  kmsca: 'KMS keys are not supported yet',
  tinkca: 'Tink keysets are not supported; export the key and use --ca fileca',
  googleca: 'GCP CA Service is not supported',
};

/** Turns collected flags into a ServeConfig; throws AppError STARTUP naming the flag, what it holds and what it takes. */
export function serveConfig(flags: FlagValues): ServeConfig {
  const read = reader(flags);
  const http = { host: read.text('host'), port: read.port('port'), ...tls(read, 'http') };
  const algorithms = read.list('client-signing-algorithms');
  return {
    http,
    grpc: { host: read.text('grpc-host'), port: read.port('grpc-port'), ...tls(read, 'grpc') },
    metrics: { host: read.optional('metrics-host') ?? http.host, port: read.port('metrics-port') },
    identityConfigPath: read.text('config-path'),
    identityConfigGiven: flags['config-path'] !== undefined,
    ca: caChoice(read),
    ctLog: ctLogChoice(read),
    ...(algorithms === undefined ? {} : { clientSigningAlgorithms: algorithms }),
    dataDir: read.text('data-dir'),
    ...given('ctlogDir', read.optional('ctlog-dir')),
    ...given('publicUrl', publicUrl(read)),
    certificateLifetimeMs: read.duration('certificate-lifetime'),
    requestTimeoutMs: read.duration('request-timeout'),
    readHeaderTimeoutMs: read.duration('read-header-timeout'),
    idleConnectionTimeoutMs: read.duration('idle-connection-timeout'),
    allowPrivateIssuers: read.boolean('allow-private-issuers'),
    tokenReuse: read.oneOf('token-reuse', ['allow', 'deny']),
    logType: read.oneOf('log_type', ['dev', 'prod']),
    logLevel: read.oneOf('log-level', ['trace', 'debug', 'info', 'warn', 'error']),
    notices: notices(flags),
  };
}

type Reader = ReturnType<typeof reader>;

function reader(flags: FlagValues) {
  const raw = (name: FlagName): { value: string; source: string } => {
    const set = flags[name];
    return set ?? { value: flagRow(name).fallback ?? '', source: `--${name}` };
  };
  const wrong = (name: FlagName, expected: string): AppError => {
    const { value, source } = raw(name);
    return new AppError('STARTUP', `${source} is "${value}"; expected ${expected}`);
  };
  return {
    wrong,
    isGiven: (name: FlagName) => flags[name] !== undefined,
    source: (name: FlagName) => raw(name).source,
    text: (name: FlagName) => raw(name).value,
    optional: (name: FlagName) => (raw(name).value === '' ? undefined : raw(name).value),
    port(name: FlagName): number {
      const { value } = raw(name);
      const port = /^\d{1,5}$/.test(value) ? Number(value) : Number.NaN;
      if (!(port <= 65535)) throw wrong(name, 'a port from 0 to 65535');
      return port;
    },
    boolean(name: FlagName): boolean {
      const parsed = { true: true, '1': true, t: true, false: false, '0': false, f: false }[
        raw(name).value.toLowerCase()
      ];
      if (parsed === undefined) throw wrong(name, 'true or false');
      return parsed;
    },
    duration(name: FlagName): number {
      const ms = parseDuration(raw(name).value);
      if (ms === undefined || ms <= 0) throw wrong(name, 'a duration above zero such as 500ms, 10s, 5m or 1h30m');
      return ms;
    },
    list(name: FlagName): readonly string[] | undefined {
      const { value } = raw(name);
      if (value === '') return undefined;
      return value.split(',').map((item) => item.trim());
    },
    oneOf<const T extends string>(name: FlagName, allowed: readonly T[]): T {
      const { value } = raw(name);
      const found = allowed.find((item) => item === value);
      if (found === undefined) throw wrong(name, allowed.join(' or '));
      return found;
    },
  };
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Go's duration notation ("1h30m", "500ms") in milliseconds; undefined if it is something else. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
    total += Number(amount) * (unitMs[unit ?? ''] ?? Number.NaN);
  }
  return total;
}

function given<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}

function tls(read: Reader, protocol: 'http' | 'grpc'): { tls?: TlsFiles } {
  const certificatePath = read.optional(`${protocol}-tls-certificate`);
  const keyPath = read.optional(`${protocol}-tls-key`);
  if (certificatePath === undefined && keyPath === undefined) return {};
  if (certificatePath === undefined || keyPath === undefined) {
    const missing = certificatePath === undefined ? 'certificate' : 'key';
    throw new AppError(
      'STARTUP',
      `--${protocol}-tls-certificate and --${protocol}-tls-key go together; --${protocol}-tls-${missing} is missing`,
    );
  }
  return { tls: { certificatePath, keyPath } };
}

function caChoice(read: Reader): CaChoice {
  const ca = read.text('ca');
  if (ca === '') return { kind: 'data-directory' };
  if (ca === 'ephemeralca') return { kind: 'ephemeral' };
  if (ca === 'fileca') return fileCa(read);
  const why = plannedCas[ca];
  if (why !== undefined)
    throw new AppError('STARTUP', `${read.source('ca')} is "${ca}": ${why}; fileca and ephemeralca are`);
  throw read.wrong('ca', 'fileca or ephemeralca, or no --ca for the CA in the data directory');
}

function fileCa(read: Reader): CaChoice {
  const certPath = read.optional('fileca-cert');
  const keyPath = read.optional('fileca-key');
  if (certPath === undefined)
    throw new AppError('STARTUP', '--ca fileca needs --fileca-cert, the PEM chain with the issuing certificate first');
  if (keyPath === undefined)
    throw new AppError('STARTUP', '--ca fileca needs --fileca-key, the PEM private key of the issuing certificate');
  return { kind: 'file', certPath, keyPath, ...given('password', read.optional('fileca-key-passwd')) };
}

function ctLogChoice(read: Reader): CtLogChoice {
  if (!read.isGiven('ct-log-url')) return { kind: 'embedded' };
  const url = read.text('ct-log-url');
  if (url === '') return { kind: 'none' };
  if (!isHttpUrl(url))
    throw read.wrong('ct-log-url', 'an http or https URL ending in the prefix of the log, or "" for no log');
  const publicKeyPath = read.optional('ct-log-public-key-path');
  if (publicKeyPath === undefined) {
    throw new AppError(
      'STARTUP',
      `${read.source('ct-log-url')} names a log, but --ct-log-public-key-path does not say by which key its SCTs are to be checked`,
    );
  }
  return {
    kind: 'external',
    url,
    publicKeyPath,
    timeoutMs: read.duration('ct-log-timeout'),
    ...given('origin', read.optional('ct-log-origin')),
    ...given('tlsCaPath', read.optional('ct-log.tls-ca-cert')),
  };
}

function publicUrl(read: Reader): string | undefined {
  const url = read.optional('public-url');
  if (url === undefined) return undefined;
  if (!isHttpUrl(url) || /[?#\s]/.test(url))
    throw read.wrong('public-url', 'an http or https URL without query, such as https://ca.example.com');
  return url.replace(/\/+$/, '');
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && ['http:', 'https:'].includes(new URL(text).protocol);
}

function notices(flags: FlagValues): string[] {
  return flagNames.flatMap((name) => {
    const why = flagRow(name).ignored;
    const set = flags[name];
    return why === undefined || set === undefined ? [] : [`${set.source} has no effect: ${why}`];
  });
}
