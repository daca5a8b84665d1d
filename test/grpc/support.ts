import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ChannelCredentials,
  Client,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { pino } from 'pino';
import { Certificate } from 'pkijs';
import { caService, healthService, rpcErrorInfo, rpcStatus } from '../../src/grpc/definitions.js';
import { createGrpcServer, type GrpcDeps, type GrpcServer } from '../../src/grpc/server.js';
import type { Issued, IssueRequest } from '../../src/issue.js';
import { openIntake } from '../../src/limits/intake.js';
import { createMetrics } from '../../src/metrics.js';

export const host = '127.0.0.1';
export const rootPem = '-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n';
/** What encodePem makes of the fake leaf, the bytes 01 02 03 too. */
export const leafPem = rootPem;

/** As much of an Issued as the wire shows. */
export function issued(logged: boolean): Issued {
  const sct = { logId: new Uint8Array(32), timestamp: 1n, extensions: new Uint8Array(), signature: new Uint8Array() };
  const shown = { certificate: Uint8Array.of(1, 2, 3), ca: { chainPem: [rootPem] }, scts: logged ? [sct] : undefined };
  return shown as unknown as Issued;
}

export interface Served {
  readonly server: GrpcServer;
  readonly port: number;
  readonly requests: IssueRequest[];
  readonly logs: Record<string, unknown>[];
  readonly deps: GrpcDeps;
  /** `code method type count` of every series of grpc_server_handled_total. */
  handled(): Promise<string[]>;
}

const running: GrpcServer[] = [];

/** A gRPC server on a free loopback port whose issue() notes what it was asked; `closeAll` ends it. */
export async function serve(overrides: Partial<GrpcDeps> = {}): Promise<Served> {
  const made = create(overrides);
  const port = await made.server.listen({ host, port: 0 });
  return { ...made, port };
}

/** As `serve`, without a port. */
export function create(overrides: Partial<GrpcDeps> = {}) {
  const requests: IssueRequest[] = [];
  const logs: Record<string, unknown>[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => logs.push(JSON.parse(line)) });
  const metrics = createMetrics('test', 'test');
  const deps: GrpcDeps = {
    async issue(request) {
      requests.push(request);
      return issued(true);
    },
    trustBundle: () => [[rootPem], ['second']],
    configuration: () => ({ issuers: [] }),
    readiness: () => [{ ok: true }],
    metrics,
    logger,
    requestTimeoutMs: 10_000,
    clientAddress: (peer) => peer,
    intake: openIntake,
    healthWatchIntervalMs: 5,
    ...overrides,
  };
  const server = createGrpcServer(deps);
  running.push(server);
  const handled = async (): Promise<string[]> => {
    const { values } = await metrics.grpcHandled.get();
    return values.map(({ labels, value }) => {
      const { grpc_code, grpc_method, grpc_service, grpc_type } = labels;
      return `${grpc_code} ${grpc_service}/${grpc_method} ${grpc_type} ${value}`;
    });
  };
  return { server, requests, logs, deps, handled };
}

/** Ends every server and client of a test. */
export async function closeAll(): Promise<void> {
  for (const client of clients.splice(0)) client.close();
  await Promise.all(running.splice(0).map((server) => server.close(1000)));
}

const clients: Client[] = [];

export function connect(port: number, how: ChannelCredentials = credentials.createInsecure()): Client {
  const client = new Client(`localhost:${port}`, how, {
    'grpc.max_send_message_length': -1,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.default_authority': 'localhost',
  });
  clients.push(client);
  return client;
}

export function methodOf(service: ServiceDefinition, name: string): MethodDefinition<object, object> {
  const method = service[name];
  if (method === undefined) throw new Error(`no method ${name}`);
  return method;
}

/** What a unary call came to. */
export interface Outcome {
  readonly code: number;
  readonly message: string;
  readonly answer: unknown;
  readonly trailers: Metadata;
  readonly headers: Metadata;
  /** The google.rpc.Status in the trailers, with its ErrorInfo decoded. */
  readonly details: { code: number; message: string; info: unknown } | undefined;
}

export interface CallOptions {
  readonly metadata?: Record<string, string>;
  readonly deadline?: number;
  /** Sent in place of the encoded message. */
  readonly raw?: Buffer;
}

/** Makes a unary call to its end, whatever its status. */
export function call(
  client: Client,
  method: MethodDefinition<object, object>,
  message: object,
  options: CallOptions = {},
) {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value);
  const serialize = options.raw === undefined ? method.requestSerialize : () => options.raw ?? Buffer.alloc(0);
  const callOptions = options.deadline === undefined ? {} : { deadline: options.deadline };
  return new Promise<Outcome>((resolve) => {
    let headers = new Metadata();
    let trailers = new Metadata();
    let result: { error: ServiceError | null; answer: unknown } | undefined;
    const started = client.makeUnaryRequest(
      method.path,
      serialize,
      method.responseDeserialize,
      message,
      metadata,
      callOptions,
      (error, answer) => {
        result = { error, answer };
      },
    );
    started.on('metadata', (given) => {
      headers = given;
    });
    started.on('status', (status) => {
      trailers = status.metadata;
      setImmediate(() =>
        resolve({
          code: status.code,
          message: status.details,
          answer: result?.answer,
          trailers,
          headers,
          details: detailsOf(trailers),
        }),
      );
    });
  });
}

function detailsOf(trailers: Metadata): Outcome['details'] {
  const [bytes] = trailers.get('grpc-status-details-bin');
  if (!Buffer.isBuffer(bytes)) return undefined;
  const status = rpcStatus.deserialize(bytes) as {
    code: number;
    message: string;
    details: { type_url: string; value: Buffer }[];
  };
  const [any] = status.details;
  if (any?.type_url !== 'type.googleapis.com/google.rpc.ErrorInfo') throw new Error('the detail is no ErrorInfo');
  const { metadata, ...info } = rpcErrorInfo.deserialize(any.value) as { metadata: { key: string; value: string }[] };
  const entries = Object.fromEntries(metadata.map(({ key, value }) => [key, value]));
  return { code: status.code, message: status.message, info: { ...info, metadata: entries } };
}

export const createMethod = methodOf(caService, 'CreateSigningCertificate');
export const checkMethod = methodOf(healthService, 'Check');

/** A request for a key, with a token. */
export const keyRequest = {
  credentials: { oidc_identity_token: 'token' },
  public_key_request: { public_key: { algorithm: 2, content: 'PEM' }, proof_of_possession: Buffer.from('proof') },
};

/** A certificate without a name, signed by itself, and its key, as PEM. */
async function selfSigned(): Promise<{ cert: string; key: string }> {
  const { subtle } = webcrypto;
  const keys = await subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const certificate = new Certificate({ version: 2 });
  certificate.serialNumber.valueBlock.valueDec = 1;
  certificate.notBefore.value = new Date(Date.now() - 60_000);
  certificate.notAfter.value = new Date(Date.now() + 3_600_000);
  await certificate.subjectPublicKeyInfo.importKey(keys.publicKey);
  await certificate.sign(keys.privateKey, 'SHA-256');
  const pem = (label: string, der: ArrayBuffer): string =>
    `-----BEGIN ${label}-----\n${Buffer.from(der).toString('base64')}\n-----END ${label}-----\n`;
  return {
    cert: pem('CERTIFICATE', certificate.toSchema(true).toBER()),
    key: pem('PRIVATE KEY', await subtle.exportKey('pkcs8', keys.privateKey)),
  };
}

/** A TLS certificate and its key, in memory and in files, beside keys that do not fit. */
export async function tlsFiles() {
  const { cert, key } = await selfSigned();
  const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const dir = mkdtempSync(join(tmpdir(), 'mayfly-grpc-'));
  const file = (name: string, content: string): string => {
    writeFileSync(join(dir, name), content);
    return join(dir, name);
  };
  return {
    cert: Buffer.from(cert),
    key: Buffer.from(key),
    dir,
    certificatePath: file('tls.pem', cert),
    keyPath: file('tls.key', key),
    otherKeyPath: file('other.key', String(otherKey.export({ type: 'pkcs8', format: 'pem' }))),
    encryptedKeyPath: file(
      'encrypted.key',
      String(otherKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })),
    ),
  };
}
