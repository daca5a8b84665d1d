import type { Secrets } from './chart.js';

const publicUrl = 'https://fulcio.example.com';
const identity = { contents: { 'oidc-issuers': {} } };
const logKeys = { keySecret: 'log-key' };
const host = { host: 'fulcio.example.com', path: '/' };
const tls = [{ secretName: 'fulcio-tls', hosts: ['fulcio.example.com'] }];

/** What an operator puts into Secrets before the chart, PEM as these tests make it. */
export interface Material {
  readonly key: string;
  readonly chain: string;
  readonly password: string;
  readonly logKey: string;
  readonly logPublicKey: string;
}

export function secretsOf(material: Material): Secrets {
  const { key, chain, password } = material;
  return {
    'fulcio-server-secret': { private: key, cert: chain, password },
    'log-key': { 'key.pem': material.logKey, 'public.pem': material.logPublicKey },
    tsa: { private: key, cert: chain, password },
    hsm: { 'crypto11.conf': '{"Path": "/usr/lib/softhsm/libsofthsm2.so", "TokenLabel": "fulcio", "Pin": "2324"}' },
    'server-tls': { 'tls.crt': chain, 'tls.key': key },
  };
}

const fileca = (more: object = {}, args: object = {}): object => ({
  secret: 'fulcio-server-secret',
  args: { certificateAuthority: 'fileca', ...args },
  ...more,
});

/** Values by what they stand for; each has to render, to fit Kubernetes and to be understood by the server. */
export function valuesMatrix({ key, chain, logKey, logPublicKey }: Material): readonly (readonly [string, object])[] {
  const base = { publicUrl, config: identity };
  const separate = { ...base, mode: 'separate-log', server: fileca(), log: logKeys };
  return [
    ['nothing', {}],
    ['the least', { publicUrl }],
    ['one pod without a volume', { ...base, persistence: { enabled: false } }],
    ['one pod with a claim of its own', { ...base, persistence: { existingClaim: 'mayfly-data', size: '1Gi' } }],
    ['one pod with the CA from a Secret', { ...base, server: fileca() }],
    [
      'one pod with the CA from values',
      { ...base, server: fileca({ secret: '', keys: { private: key, cert: chain } }) },
    ],
    ['one pod with everything switched on', { ...base, ...everything, server: { ...everything.server, ...fileca() } }],
    ['a separate log', separate],
    [
      'a separate log with its key in values',
      { ...separate, log: { keys: { private: logKey, public: logPublicKey } } },
    ],
    [
      'a separate log with all else',
      { ...separate, ...everything, server: { ...everything.server, ...fileca(), ...scaled } },
    ],
    [
      'a separate log in an object store, with a standby',
      {
        ...separate,
        log: {
          ...logKeys,
          replicaCount: 2,
          publicUrl: 'https://log.example.com',
          settings: { 'ctlog-storage': 's3://bucket/log?region=eu-west-1', 'ctlog-postgres': 'postgres://db/log' },
        },
      },
    ],
    [
      'a separate log behind a cloud KMS',
      { ...base, mode: 'separate-log', server: { replicaCount: 3, args: kms(chain) }, log: logKeys },
    ],
    [
      'a separate log behind an HSM',
      {
        ...base,
        mode: 'separate-log',
        server: { pkcs11Secret: 'hsm', args: { certificateAuthority: 'pkcs11ca', hsm_caroot_id: 'ca' } },
        log: { ...logKeys, roots: chain },
      },
    ],
    [
      'one external log',
      {
        ...base,
        mode: 'external-log',
        server: fileca({}, { ct_log_url: 'https://log.example.com/2026', ct_log_public_key: logPublicKey }),
      },
    ],
    [
      'several external logs',
      {
        ...base,
        mode: 'external-log',
        server: fileca({ replicaCount: 2 }),
        externalLogs: {
          required: 2,
          logs: ['https://a.example/2026', 'https://b.example/2026'].map((url) => ({
            url,
            'public-key': logPublicKey,
          })),
        },
      },
    ],
    ['no log', { ...base, mode: 'external-log', server: fileca({}, { disable_ct_log: true }) }],
    ["values of Sigstore's chart", fulcioValues],
  ];
}

const kms = (chain: string): object => ({
  certificateAuthority: 'kmsca',
  kms_resource: 'awskms:///arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
  kms_cert_chain: chain,
});

/** What Sigstore's chart is given for a CA in a Secret, with the public URL and the mode that this one asks for. */
const fulcioValues = {
  publicUrl,
  mode: 'external-log',
  config: {
    format: 'json',
    contents: {
      OIDCIssuers: {
        'https://accounts.google.com': {
          IssuerURL: 'https://accounts.google.com',
          ClientID: 'sigstore',
          Type: 'email',
        },
      },
    },
  },
  server: {
    replicaCount: 1,
    svcPort: 80,
    grpcSvcPort: 5554,
    secret: 'fulcio-server-secret',
    args: { port: 5555, grpcPort: 5554, certificateAuthority: 'fileca', hsm_caroot_id: null, disable_ct_log: true },
    serviceAccount: { create: true, name: '', annotations: {}, mountToken: true },
    ingress: { http: { enabled: true, className: 'nginx', annotations: {}, hosts: [host], tls: [] } },
    securityContext: undefined,
  },
};

const scaled = { autoscaling: { enabled: true, minReplicas: 2, maxReplicas: 5, targetCPUUtilizationPercentage: 60 } };

const everything = {
  imagePullSecrets: [{ name: 'registry' }],
  audit: { enabled: true, output: '/data/audit.jsonl' },
  page: { enabled: true, port: 8090 },
  tsa: { enabled: true, secret: 'tsa' },
  tuf: { existingClaim: 'tuf' },
  trustConfig: { rekor: [] },
  networkPolicy: {
    enabled: true,
    from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ingress' } } }],
    pageFrom: [{ ipBlock: { cidr: '10.1.0.0/16' } }],
    metricsFrom: [{ namespaceSelector: {} }],
    logFrom: [{ ipBlock: { cidr: '10.0.0.0/8' } }],
    egress: [{ ports: [{ port: 443 }, { port: 53, protocol: 'UDP' }] }],
  },
  metrics: {
    serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
    rules: { enabled: true, labels: { release: 'prometheus' } },
    dashboards: { enabled: true, annotations: { folder: 'Signing' } },
  },
  server: {
    image: { registry: 'registry.example.com', repository: 'signing/mayfly', version: `sha256:${'0'.repeat(64)}` },
    tlsSecret: 'server-tls',
    grpcSvcTLS: { secretName: 'server-tls', certField: 'tls.crt', keyField: 'tls.key' },
    settings: {
      'policy-default': 'deny',
      'policy-dry-run': true,
      'limit-identity': '60/1m',
      'max-connections': 4096,
      'audit-max-size': 67_108_864,
      'client-address': 'x-forwarded-for',
      'trusted-proxies': ['10.0.0.0/8', '192.168.0.0/16'],
      'certificate-lifetime': '5m',
      'token-reuse': 'deny',
      'otlp-endpoint': 'http://otel-collector.monitoring:4318',
    },
    extraArgs: ['--log-level=debug'],
    extraEnv: [{ name: 'HTTPS_PROXY', value: 'http://proxy.example.com:3128' }],
    extraVolumes: [{ name: 'module', emptyDir: {} }],
    extraVolumeMounts: [{ name: 'module', mountPath: '/opt/module' }],
    serviceAccount: { annotations: { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::111122223333:role/mayfly' } },
    service: { type: 'LoadBalancer', annotations: { purpose: 'signing' } },
    ingress: {
      http: { enabled: true, className: 'nginx', annotations: { a: 'b' }, hosts: [host], tls },
      grpc: { enabled: true, className: 'nginx', hosts: [{ ...host, path: '/dev.sigstore.fulcio.v2.CA' }], tls },
    },
    podAnnotations: { a: 'b' },
    podLabels: { team: 'signing' },
    nodeSelector: { 'kubernetes.io/arch': 'amd64' },
    tolerations: [{ key: 'signing', operator: 'Exists' }],
    affinity: { podAntiAffinity: {} },
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'ScheduleAnyway' },
    ],
    priorityClassName: 'system-cluster-critical',
  },
};

/** Values that must not render, by the words that say what to do. */
export const refusedValues: readonly (readonly [words: string, values: object])[] = [
  ['server.replicaCount: mode standalone has one pod', { publicUrl, server: { replicaCount: 2 } }],
  ['server.autoscaling: mode standalone has one pod', { publicUrl, server: scaled }],
  ['set mode to external-log', { publicUrl, server: { args: { ct_log_url: 'https://log.example.com' } } }],
  ['needs fileca, kmsca or pkcs11ca', { publicUrl, mode: 'separate-log' }],
  ['log.keySecret is required', { publicUrl, mode: 'separate-log', server: fileca() }],
  ['mode external-log needs the log', { publicUrl, mode: 'external-log', server: fileca() }],
  [
    'ct_log_public_key is required',
    { publicUrl, mode: 'external-log', server: fileca({}, { ct_log_url: 'https://log.example.com' }) },
  ],
  ['fileca needs server.secret', { publicUrl, server: { args: { certificateAuthority: 'fileca' } } }],
  ['kmsca needs server.args.kms_resource', { publicUrl, server: { args: { certificateAuthority: 'kmsca' } } }],
  ['pkcs11ca needs server.pkcs11Secret', { publicUrl, server: { args: { certificateAuthority: 'pkcs11ca' } } }],
  [
    'tsa.secret is required',
    { publicUrl, mode: 'separate-log', server: fileca(), log: logKeys, tsa: { enabled: true } },
  ],
  [
    'log.replicaCount: a log in a directory has one writer',
    { publicUrl, mode: 'separate-log', server: fileca(), log: { ...logKeys, replicaCount: 2 } },
  ],
  ["additional properties 'pubicUrl' not allowed", { pubicUrl: publicUrl }],
  ["additional properties 'replicas' not allowed", { publicUrl, server: { replicas: 2 } }],
  ["invalid propertyName 'data-dir'", { publicUrl, server: { settings: { 'data-dir': '/tmp' } } }],
  ['/mode', { publicUrl, mode: 'cluster' }],
  ['/audit/output', { publicUrl, audit: { output: '/var/log/audit.jsonl' } }],
  ['/publicUrl', { publicUrl: 'fulcio.example.com' }],
];
