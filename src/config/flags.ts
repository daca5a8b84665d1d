/**
 * Every flag of `mayfly serve`, as one table: Fulcio's under Fulcio's names, then ours.
 * Each can also be set as FULCIO_SERVE_NAME in the environment or as a key of the `--config` file.
 */

export type FlagKind = 'string' | 'port' | 'boolean' | 'duration' | 'list';

interface FlagRow {
  readonly kind: FlagKind;
  readonly help: string;
  readonly fallback?: string;
  readonly aliases?: readonly string[];
  /** Taken for compatibility and without effect; the start says so, with this reason. */
  readonly ignored?: string;
  /** May be given several times on the command line, or as a list in the settings file. */
  readonly repeatable?: boolean;
}

const flag = (kind: FlagKind, help: string, fallback?: string, rest: Partial<FlagRow> = {}): FlagRow =>
  fallback === undefined ? { kind, help, ...rest } : { kind, help, fallback, ...rest };

export const serveFlags = {
  host: flag('string', 'address to serve HTTP on', '0.0.0.0', { aliases: ['http-host'] }),
  port: flag('port', 'port to serve HTTP on (0 takes a free one)', '8080', { aliases: ['http-port'] }),
  'grpc-host': flag('string', 'address to serve gRPC on', '0.0.0.0'),
  'grpc-port': flag('port', 'port to serve gRPC on (0 takes a free one; equal to --port shares it)', '8081'),
  'metrics-port': flag('port', 'port to serve Prometheus metrics on (0 takes a free one)', '2112'),
  'config-path': flag('string', 'file with the identity configuration, YAML or JSON', '/etc/fulcio-config/config.yaml'),
  ca: flag(
    'string',
    'fileca | pkcs11ca | kmsca | ephemeralca; without it, the CA in the data directory, made at the first start',
  ),
  'fileca-cert': flag('string', 'PEM chain of the file CA: issuing certificate first, root last'),
  'fileca-key': flag('string', 'PEM private key of the file CA'),
  'fileca-key-passwd': flag('string', 'password of the file CA key'),
  'fileca-watch': flag('boolean', 'load the file CA again when its files are replaced', 'true'),
  'pkcs11-config-path': flag(
    'string',
    "PKCS#11 configuration in crypto11's JSON form (only with --ca pkcs11ca)",
    'config/crypto11.conf',
  ),
  'hsm-caroot-id': flag('string', 'CKA_ID of the CA certificate in the token, as characters (only with --ca pkcs11ca)'),
  'hsm-key-label': flag('string', 'CKA_LABEL of the CA key in the token (only with --ca pkcs11ca)', 'PKCS11CA'),
  'hsm-cert-chain-path': flag('string', 'PEM chain of the PKCS#11 CA, instead of --hsm-caroot-id'),
  'aws-hsm-root-ca-path': flag('string', 'the same as --hsm-cert-chain-path'),
  'kms-resource': flag(
    'string',
    'KMS key: awskms://, gcpkms://, azurekms:// or hashivault:// (only with --ca kmsca; docs/kms.md)',
  ),
  'kms-cert-chain-path': flag('string', 'PEM chain of the KMS CA: issuing certificate first, root last'),
  'gcp-kms-retries': flag('string', 'accepted for compatibility', undefined, {
    ignored: 'a failed signature is repeated once the key has been found to work',
  }),
  'gcp-kms-timeout': flag('string', 'longest time of one call to GCP KMS, in seconds (0: 5)'),
  'tink-kms-resource': flag('string', 'KMS key of an encrypted Tink keyset'),
  'tink-keyset-path': flag('string', 'encrypted Tink keyset'),
  'tink-cert-chain-path': flag('string', 'PEM chain of the Tink CA'),
  gcp_private_ca_parent: flag('string', 'CA pool of GCP CA Service (only with --ca googleca)'),
  'ct-log-url': flag('string', 'an external log, may be repeated; not given: the embedded log; "": no log', undefined, {
    repeatable: true,
  }),
  'ct-log-public-key-path': flag(
    'string',
    'PEM public key of the external log (one for each --ct-log-url)',
    undefined,
    {
      repeatable: true,
    },
  ),
  'ct-log-origin': flag('string', 'Host header towards the external log'),
  'ct-log.tls-ca-cert': flag('string', 'PEM TLS root for the external log'),
  'ct-logs-config': flag('string', 'file with a list of logs and how many SCTs of them a certificate carries, YAML'),
  'client-signing-algorithms': flag('list', 'client key algorithms to accept'),
  'grpc-tls-certificate': flag('string', 'PEM certificate chain for TLS on the gRPC port'),
  'grpc-tls-key': flag('string', 'PEM private key for TLS on the gRPC port'),
  'read-header-timeout': flag('duration', 'time to read the headers of a request', '10s'),
  'read-body-timeout': flag('duration', 'time to read the body of a request after its headers', '10s'),
  'idle-connection-timeout': flag('duration', 'time an idle connection is kept', '30s'),
  'legacy-unix-domain-socket': flag('string', 'accepted for compatibility', undefined, {
    ignored: 'there is no second server behind HTTP that a socket would lead to',
  }),
  log_type: flag('string', 'prod: JSON lines; dev: readable lines', 'prod'),

  'data-dir': flag('string', 'directory of keys, log and trust files', './data'),
  'ctlog-dir': flag('string', 'directory of the embedded log, if not DATA-DIR/ctlog'),
  'ctlog-storage': flag(
    'string',
    's3://bucket/prefix?region=…&endpoint=…&path-style=true: keep the embedded log there (credentials from the usual AWS environment)',
  ),
  'ctlog-postgres': flag('string', 'postgres:// URL of the commit point and the writer lease of --ctlog-storage'),
  'ctlog-lock': flag(
    'string',
    'file, directory or postgres:// URL outside the log that records its last checkpoint, so that an old backup is noticed',
  ),
  'ctlog-witness-policy': flag(
    'string',
    "file that names witnesses and their quorum: they cosign the embedded log's published checkpoint",
  ),
  'trust-config': flag(
    'string',
    'file with the Rekor and timestamp authorities beside this instance, for the trust files, YAML',
  ),
  page: flag('boolean', 'show people this instance and its log at /', 'false'),
  'page-host': flag('string', 'address of --page-port, if not --host'),
  'page-port': flag('port', 'port of its own for the page and for reads of the log (0 takes a free one)'),
  'tuf-dir': flag('string', 'TUF repository to serve at /tuf, if not DATA-DIR/tuf'),
  'public-url': flag('string', 'URL that clients reach this instance under; part of the log origin, for good'),
  'metrics-host': flag('string', 'address to serve metrics on, if not --host'),
  'http-tls-certificate': flag('string', 'PEM certificate chain for TLS on the HTTP port'),
  'http-tls-key': flag('string', 'PEM private key for TLS on the HTTP port'),
  'certificate-lifetime': flag('duration', 'validity of an issued certificate', '10m'),
  'request-timeout': flag('duration', 'longest time a certificate request may take', '20s'),
  'ct-log-timeout': flag('duration', 'longest time an external log may take', '8s'),
  'client-address': flag(
    'string',
    'socket: the peer of the connection; x-forwarded-for: what --trusted-proxies say of it',
    'socket',
  ),
  'trusted-proxies': flag('list', 'addresses and networks (10.0.0.0/8) whose X-Forwarded-For is believed'),
  'limit-identity': flag('string', 'certificates for one identity within a window, such as 60/1m; not given: no limit'),
  'limit-issuer': flag('string', 'certificates for all identities of one issuer within a window'),
  'limit-address': flag('string', 'certificate requests from one client address (IPv6: one /64) within a window'),
  'max-in-flight': flag('string', 'certificate requests in work at once: auto, or a number (0: no limit)', 'auto'),
  'max-connections': flag('string', 'connections to each of the HTTP and gRPC ports (0: no limit)', '8192'),
  'audit-log': flag('string', 'file for the audit trail, or "-" for standard output; not given: no trail'),
  'audit-failure': flag(
    'string',
    'refuse: nothing is issued that the audit trail cannot record; warn: it is',
    'refuse',
  ),
  'audit-max-size': flag('string', 'size at which the audit file is set aside and a new one begun (0: never)', '64MiB'),
  'audit-max-age': flag('duration', 'age at which the audit file is set aside and a new one begun'),
  'audit-max-refusals': flag(
    'string',
    'refused requests a minute that get an audit line each, once for known and once for unknown callers; the rest are counted',
    '100',
  ),
  'otlp-endpoint': flag(
    'string',
    'http or https URL of an OpenTelemetry collector that takes traces as OTLP over HTTP; not given: no traces',
  ),
  'trace-sampler': flag(
    'string',
    'parent: trace a request as its caller decided, else by --trace-ratio; ratio: by --trace-ratio alone',
    'parent',
  ),
  'trace-ratio': flag('string', 'share of the requests that are traced, 0 to 1', '1'),
  'trace-identities': flag('boolean', 'let traces name subject and certificate name of who asks', 'false'),
  'allow-private-issuers': flag('boolean', 'let wildcard issuers live on private or loopback addresses', 'false'),
  workers: flag(
    'string',
    'threads that check proofs and sign: auto (one for each core but the first), or 0 to 64',
    'auto',
  ),
  'policy-default': flag('string', 'allow | deny: who matches no rule of an issuer without allow rules', 'allow'),
  'policy-dry-run': flag('boolean', 'deny nobody: only log and count what the policy would deny', 'false'),
  'opa-url': flag(
    'string',
    'decision of an Open Policy Agent that has to allow each certificate too, such as http://127.0.0.1:8181/v1/data/mayfly/decision',
  ),
  'opa-timeout': flag('duration', 'longest time the Open Policy Agent may take; then nothing is issued', '500ms'),
  'opa-tls-ca-cert': flag('string', 'PEM TLS root for the Open Policy Agent'),
  'token-reuse': flag('string', 'allow: as Fulcio; deny: a token gets one certificate', 'allow'),
  tsa: flag('boolean', 'give RFC 3161 timestamps at /api/v1/timestamp', 'false'),
  'tsa-key': flag('string', 'PEM private key of the timestamp authority; without it, keys/tsa in the data directory'),
  'tsa-key-password': flag('string', 'password of the timestamp key'),
  'tsa-kms-resource': flag('string', 'KMS key of the timestamp authority, as --kms-resource (needs --tsa-cert-chain)'),
  'tsa-hsm-key-label': flag(
    'string',
    'label of the timestamp key in the HSM of --pkcs11-config-path (needs --tsa-cert-chain)',
  ),
  'tsa-cert-chain': flag('string', 'PEM chain of the timestamp key: its own certificate first, root last'),
  'tsa-policy': flag('string', 'object identifier of the policy of its timestamps', '1.3.6.1.4.1.57264.2'),
  'tsa-clock-limit': flag('duration', 'how far the clock may jump before there are no timestamps', '1s'),
  fips: flag('boolean', 'start only with OpenSSL in FIPS mode, and offer approved algorithms only', 'false'),
  'log-level': flag('string', 'debug | info | warn | error', 'info'),
} as const satisfies Record<string, FlagRow>;

export type FlagName = keyof typeof serveFlags;

/** Where a value came from, for messages: `--port`, `FULCIO_SERVE_PORT` or `port in mayfly.yaml`. */
export interface FlagValue {
  readonly value: string;
  readonly source: string;
  /** Every value of a repeatable flag, in the order given; `value` is the first. */
  readonly values?: readonly string[];
}

export type FlagValues = Readonly<Partial<Record<FlagName, FlagValue>>>;

/** Row of a flag, widened so that optional columns can be read. */
export function flagRow(name: FlagName): FlagRow {
  return serveFlags[name];
}

export const flagNames = Object.keys(serveFlags) as readonly FlagName[];

/** `ct-log.tls-ca-cert` → FULCIO_SERVE_CT_LOG_TLS_CA_CERT. */
export function environmentName(name: string): string {
  return `FULCIO_SERVE_${name.replace(/[-.]/g, '_').toUpperCase()}`;
}
