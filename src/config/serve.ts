import { availableParallelism } from 'node:os';
import type { AddressRange } from '../client-address.js';
import { AppError } from '../errors.js';
import type { PolicySettings } from '../policy.js';
import type { TsaSettings } from '../tsa/open.js';
import { type AuditSettings, auditSettings } from './audit.js';
import { trustedProxies } from './client-address.js';
import { type CtLogChoice, ctLogNotices, type ExternalLogChoice, isHttpUrl, readCtLogsFile } from './ct-logs.js';
import { parseDuration } from './duration.js';
import { type FlagName, type FlagValues, flagNames, flagRow } from './flags.js';
import { type KmsCaChoice, kmsCa } from './kms-ca.js';
import { type LimitSettings, limitSettings, maxConnections } from './limits.js';
import { type PageSettings, pageSettings } from './page.js';
import { type Pkcs11CaChoice, pkcs11Ca } from './pkcs11-ca.js';
import { policySettings } from './policy.js';
import { type TracingSettings, tracingSettings } from './telemetry.js';
import { tsaSettings } from './tsa.js';

export { parseDuration };

/** Which certificate authority signs. */
export type CaChoice =
  | { readonly kind: 'data-directory' }
  | { readonly kind: 'ephemeral' }
  | {
      readonly kind: 'file';
      readonly certPath: string;
      readonly keyPath: string;
      readonly password?: string;
      /** Whether replaced files are loaded by themselves. */
      readonly watch: boolean;
    }
  | KmsCaChoice
  | Pkcs11CaChoice;

export interface TlsFiles {
  readonly certificatePath: string;
  readonly keyPath: string;
}

/** Where the embedded log is kept, if not in a directory, and where its last checkpoint is recorded besides. */
export interface LogStorageSettings {
  /** An s3: address (see parseS3Address) and the PostgreSQL database that belongs to it. */
  readonly objects?: { readonly address: string; readonly postgres: string };
  /** A path or a postgres: URL. */
  readonly lock?: string;
  /** File with the policy of c2sp.org/tlog-policy by which checkpoints are cosigned. */
  readonly witnessPolicy?: string;
}

/** The validated settings of one `mayfly serve`. Times are in milliseconds. */
export interface ServeConfig {
  readonly http: { readonly host: string; readonly port: number; readonly tls?: TlsFiles };
  readonly grpc: { readonly host: string; readonly port: number; readonly tls?: TlsFiles };
  readonly metrics: { readonly host: string; readonly port: number };
  /** The page for people; with a listener, it and the log's reads are there and not on the HTTP port. */
  readonly page?: PageSettings;
  readonly identityConfigPath: string;
  readonly identityConfigGiven: boolean;
  readonly ca: CaChoice;
  readonly ctLog: CtLogChoice;
  readonly clientSigningAlgorithms?: readonly string[];
  readonly dataDir: string;
  readonly ctlogDir?: string;
  readonly logStorage: LogStorageSettings;
  /** File of services beside this instance (see readTrustConfig). */
  readonly trustConfigPath?: string;
  readonly tufDir?: string;
  readonly publicUrl?: string;
  readonly tsa?: TsaSettings;
  readonly certificateLifetimeMs: number;
  readonly requestTimeoutMs: number;
  readonly readHeaderTimeoutMs: number;
  readonly readBodyTimeoutMs: number;
  readonly idleConnectionTimeoutMs: number;
  /** Proxies whose X-Forwarded-For is believed; undefined: the header is not looked at. */
  readonly trustedProxies?: readonly AddressRange[];
  readonly limits: LimitSettings;
  /** Of each port; Infinity for no limit. */
  readonly maxConnections: number;
  /** Undefined: no audit trail is kept. */
  readonly audit?: AuditSettings;
  /** Undefined: no traces. */
  readonly tracing?: TracingSettings;
  readonly allowPrivateIssuers: boolean;
  /** Threads beside the main one; `auto` leaves the number to the machine. */
  readonly workers: number | 'auto';
  readonly policy: PolicySettings;
  readonly tokenReuse: 'allow' | 'deny';
  readonly fips: boolean;
  readonly logType: 'dev' | 'prod';
  readonly logLevel: string;
  /** Lines to tell the operator at start: flags that were taken and have no effect, and what clients will not like. */
  readonly notices: readonly string[];
}

const unsupportedCas: Readonly<Record<string, string>> = {
  tinkca:
    'a Tink keyset is decrypted into the memory of the server, so a key that signs inside the same KMS takes its ' +
    'place: --ca kmsca (docs/kms.md)',
  googleca:
    'CA Service chooses serial numbers itself, so no SCT can be embedded in its certificates; a CA whose key is in ' +
    'Cloud KMS takes its place: --ca kmsca with gcpkms:// (docs/kms.md)',
};

/** Turns collected flags into a ServeConfig; throws AppError STARTUP naming the flag, what it holds and what it takes. */
export function serveConfig(flags: FlagValues): ServeConfig {
  const read = reader(flags);
  const http = { host: read.text('host'), port: read.port('port'), ...tls(read, 'http') };
  const algorithms = read.list('client-signing-algorithms');
  const ctLog = ctLogChoice(read);
  const ca = caChoice(read);
  const storage = logStorage(read);
  return {
    http,
    grpc: { host: read.text('grpc-host'), port: read.port('grpc-port'), ...tls(read, 'grpc') },
    metrics: { host: read.optional('metrics-host') ?? http.host, port: read.port('metrics-port') },
    ...given('page', pageSettings(read)),
    identityConfigPath: read.text('config-path'),
    identityConfigGiven: flags['config-path'] !== undefined,
    ca,
    ctLog,
    ...(algorithms === undefined ? {} : { clientSigningAlgorithms: algorithms }),
    dataDir: read.text('data-dir'),
    ...given('ctlogDir', read.optional('ctlog-dir')),
    logStorage: storage,
    ...given('trustConfigPath', read.optional('trust-config')),
    ...given('tufDir', read.optional('tuf-dir')),
    ...given('publicUrl', publicUrl(read)),
    ...given('tsa', tsaSettings(read)),
    certificateLifetimeMs: read.duration('certificate-lifetime'),
    requestTimeoutMs: read.duration('request-timeout'),
    readHeaderTimeoutMs: read.duration('read-header-timeout'),
    readBodyTimeoutMs: read.duration('read-body-timeout'),
    idleConnectionTimeoutMs: read.duration('idle-connection-timeout'),
    ...given('trustedProxies', trustedProxies(read)),
    limits: limitSettings(read, { local: isLocal(ctLog, ca, storage), processors: availableParallelism() }),
    maxConnections: maxConnections(read),
    ...given('audit', auditSettings(read)),
    ...given('tracing', tracingSettings(read)),
    allowPrivateIssuers: read.boolean('allow-private-issuers'),
    workers: workers(read),
    policy: policySettings(read),
    tokenReuse: read.oneOf('token-reuse', ['allow', 'deny']),
    fips: read.boolean('fips'),
    logType: read.oneOf('log_type', ['dev', 'prod']),
    logLevel: read.oneOf('log-level', ['trace', 'debug', 'info', 'warn', 'error']),
    notices: [...notices(flags), ...ctLogNotices(ctLog)],
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
    all: (name: FlagName): readonly string[] =>
      flags[name]?.values ?? (raw(name).value === '' ? [] : [raw(name).value]),
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
  if (ca === 'pkcs11ca') return pkcs11Ca(read);
  if (ca === 'kmsca') return kmsCa(read);
  const why = unsupportedCas[ca];
  if (why !== undefined) {
    throw new AppError('STARTUP', `${read.source('ca')} is "${ca}", which is not supported: ${why}`);
  }
  throw read.wrong('ca', 'fileca, pkcs11ca, kmsca or ephemeralca, or no --ca for the CA in the data directory');
}

function fileCa(read: Reader): CaChoice {
  const certPath = read.optional('fileca-cert');
  const keyPath = read.optional('fileca-key');
  if (certPath === undefined)
    throw new AppError('STARTUP', '--ca fileca needs --fileca-cert, the PEM chain with the issuing certificate first');
  if (keyPath === undefined)
    throw new AppError('STARTUP', '--ca fileca needs --fileca-key, the PEM private key of the issuing certificate');
  const watch = read.boolean('fileca-watch');
  return { kind: 'file', certPath, keyPath, watch, ...given('password', read.optional('fileca-key-passwd')) };
}

function ctLogChoice(read: Reader): CtLogChoice {
  const file = read.optional('ct-logs-config');
  if (file !== undefined) return ctLogsFile(read, file);
  if (!read.isGiven('ct-log-url')) return { kind: 'embedded' };
  const urls = read.all('ct-log-url');
  if (urls.length === 0) return { kind: 'none' };
  const wrong = urls.find((url) => !isHttpUrl(url));
  if (wrong !== undefined) {
    const expected = 'expected an http or https URL ending in the prefix of the log, or "" alone for no log';
    throw new AppError('STARTUP', `${read.source('ct-log-url')} is "${wrong}"; ${expected}`);
  }
  return { kind: 'several', logs: flaggedLogs(read, urls), required: 1 };
}

function ctLogsFile(read: Reader, file: string): CtLogChoice {
  if (read.isGiven('ct-log-url')) {
    const sources = `${read.source('ct-logs-config')} and ${read.source('ct-log-url')}`;
    throw new AppError('STARTUP', `${sources} both name logs; expected one of them`);
  }
  return readCtLogsFile(file, read.duration('ct-log-timeout'));
}

/** The logs of --ct-log-url, each with the --ct-log-public-key-path in the same place. */
function flaggedLogs(read: Reader, urls: readonly string[]): ExternalLogChoice[] {
  const keyPaths = read.all('ct-log-public-key-path');
  if (keyPaths.length !== urls.length) {
    const source = read.source('ct-log-url');
    const named = urls.length === 1 ? `${source} names a log` : `${source} names ${urls.length} logs`;
    const reason =
      keyPaths.length === 0
        ? '--ct-log-public-key-path does not say by which key its SCTs are to be checked'
        : `--ct-log-public-key-path names ${keyPaths.length}: each log needs its key, in the same order`;
    throw new AppError('STARTUP', `${named}, but ${reason}`);
  }
  const origin = read.optional('ct-log-origin');
  if (origin !== undefined && urls.length > 1) {
    const source = read.source('ct-log-origin');
    throw new AppError('STARTUP', `${source} is the Host header of one log; with several use --ct-logs-config`);
  }
  const tlsCaPath = read.optional('ct-log.tls-ca-cert');
  return urls.map((url, index) => ({
    kind: 'external',
    url,
    publicKey: { setting: '--ct-log-public-key-path', path: keyPaths[index] ?? '' },
    timeoutMs: read.duration('ct-log-timeout'),
    embed: true,
    ...given('origin', origin),
    ...given('tlsCa', tlsCaPath === undefined ? undefined : { setting: '--ct-log.tls-ca-cert', path: tlsCaPath }),
  }));
}

const localCas: readonly CaChoice['kind'][] = ['data-directory', 'ephemeral', 'file'];

/** Whether a certificate waits for no other machine. */
function isLocal(ctLog: CtLogChoice, ca: CaChoice, storage: LogStorageSettings): boolean {
  return ['embedded', 'none'].includes(ctLog.kind) && storage.objects === undefined && localCas.includes(ca.kind);
}

const maxWorkers = 64;

function workers(read: Reader): number | 'auto' {
  const value = read.text('workers');
  if (value === 'auto') return value;
  if (!/^\d{1,2}$/.test(value) || Number(value) > maxWorkers)
    throw read.wrong('workers', `auto, or 0 to ${maxWorkers}`);
  return Number(value);
}

function logStorage(read: Reader): LogStorageSettings {
  const address = read.optional('ctlog-storage');
  const postgres = read.optional('ctlog-postgres');
  if ((address === undefined) !== (postgres === undefined)) {
    const missing = address === undefined ? '--ctlog-storage' : '--ctlog-postgres';
    throw new AppError('STARTUP', `--ctlog-storage and --ctlog-postgres go together; ${missing} is missing`);
  }
  return {
    ...(address === undefined || postgres === undefined ? {} : { objects: { address, postgres } }),
    ...given('lock', read.optional('ctlog-lock')),
    ...given('witnessPolicy', read.optional('ctlog-witness-policy')),
  };
}

function publicUrl(read: Reader): string | undefined {
  const url = read.optional('public-url');
  if (url === undefined) return undefined;
  if (!isHttpUrl(url) || /[?#\s]/.test(url))
    throw read.wrong('public-url', 'an http or https URL without query, such as https://ca.example.com');
  return url.replace(/\/+$/, '');
}

function notices(flags: FlagValues): string[] {
  return flagNames.flatMap((name) => {
    const why = flagRow(name).ignored;
    const set = flags[name];
    return why === undefined || set === undefined ? [] : [`${set.source} has no effect: ${why}`];
  });
}
