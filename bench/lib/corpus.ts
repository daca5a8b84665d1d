import 'reflect-metadata';
import { constants, generateKeyPair, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { promisify } from 'node:util';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import { closeServer, listenLocal } from './servers.js';

export type TokenAlgorithm = 'RS256' | 'ES256' | 'EdDSA';
export type Api = 'v2' | 'v1' | 'grpc';
/** How a request proves possession of its key: a signature over the challenge beside the key, or a CSR. */
export type RequestForm = 'key' | 'csr';

/** An issuer for the benchmark: discovery and keys over loopback HTTP. */
export interface BenchIssuer {
  readonly url: string;
  readonly algorithm: TokenAlgorithm;
  token(subject: string): Promise<string>;
  close(): Promise<void>;
}

const generateIssuerKey: Readonly<Record<TokenAlgorithm, () => { privateKey: KeyObject; publicKey: KeyObject }>> = {
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
};

const signOnPool = promisify<string | null, Uint8Array, Parameters<typeof sign>[2], Buffer>(sign);

/** Starts an issuer whose tokens live for a day. */
export async function startBenchIssuer(algorithm: TokenAlgorithm): Promise<BenchIssuer> {
  const { privateKey, publicKey } = generateIssuerKey[algorithm]();
  const server: Server = createServer((request, response) => {
    const body =
      request.url === '/jwks'
        ? { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'bench', alg: algorithm, use: 'sig' }] }
        : { issuer: url, jwks_uri: `${url}/jwks`, id_token_signing_alg_values_supported: [algorithm] };
    response.setHeader('Content-Type', 'application/json').end(JSON.stringify(body));
  });
  const url = `http://127.0.0.1:${await listenLocal(server)}`;
  const header = encode({ alg: algorithm, kid: 'bench', typ: 'JWT' });
  return {
    url,
    algorithm,
    async token(subject) {
      const now = Math.floor(Date.now() / 1000);
      const claims = {
        iss: url,
        aud: 'sigstore',
        sub: subject,
        email: subject,
        email_verified: true,
        jti: randomUUID(),
      };
      const input = `${header}.${encode({ ...claims, iat: now, nbf: now, exp: now + 86_400 })}`;
      const key = { key: privateKey, dsaEncoding: 'ieee-p1363', padding: constants.RSA_PKCS1_PADDING } as const;
      const signature =
        algorithm === 'EdDSA'
          ? await signOnPool(null, Buffer.from(input), privateKey)
          : await signOnPool('sha256', Buffer.from(input), algorithm === 'RS256' ? privateKey : key);
      return `${input}.${signature.toString('base64url')}`;
    },
    close: () => closeServer(server),
  };
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

export interface CorpusOptions {
  readonly issuer: BenchIssuer;
  readonly api: Api;
  readonly form: RequestForm;
  readonly count: number;
  readonly path: string;
}

const generateClientKey = promisify(generateKeyPair);
/** As many at once as keep libuv's threads busy. */
const concurrency = 64;

/**
 * Writes `count` requests, each with a token and a P-256 key of its own: for HTTP as whole requests, each after its length
 * on a line, for gRPC as one JSON array of messages for ghz.
 */
export async function writeCorpus({ issuer, api, form, count, path }: CorpusOptions): Promise<void> {
  const file = createWriteStream(path);
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) {
      const subject = `user-${i}@example.com`;
      const request = await newRequest(await issuer.token(subject), subject, form);
      const text = api === 'grpc' ? `${i === 0 ? '[' : ','}${JSON.stringify(v2Body(request))}\n` : framed(request, api);
      // The first message opens the array, so it has to be the first one written.
      if (i === 0 || api !== 'grpc') file.write(text);
      else rest.push(text);
    }
  };
  const rest: string[] = [];
  await Promise.all(Array.from({ length: concurrency }, worker));
  if (api === 'grpc') file.write(`${rest.join('')}]`);
  await new Promise<void>((resolve, reject) => file.end((error?: Error | null) => (error ? reject(error) : resolve())));
}

interface ClientRequest {
  readonly token: string;
  readonly publicKeyPem: string;
  readonly proof: Buffer;
  readonly csrPem: string | undefined;
}

async function newRequest(token: string, subject: string, form: RequestForm): Promise<ClientRequest> {
  const { privateKey, publicKey } = await generateClientKey('ec', { namedCurve: 'P-256' });
  const proof = await signOnPool('sha256', Buffer.from(subject), privateKey);
  const publicKeyPem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const csrPem = form === 'csr' ? await newCsr(privateKey, publicKey) : undefined;
  return { token, publicKeyPem, proof, csrPem };
}

async function newCsr(privateKey: KeyObject, publicKey: KeyObject): Promise<string> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const [priv, pub] = await Promise.all([
    crypto.subtle.importKey('pkcs8', privateKey.export({ type: 'pkcs8', format: 'der' }), algorithm, true, ['sign']),
    crypto.subtle.importKey('spki', publicKey.export({ type: 'spki', format: 'der' }), algorithm, true, ['verify']),
  ]);
  const keys = { privateKey: priv, publicKey: pub };
  const csr = await Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: algorithm }, crypto);
  return csr.toString('pem');
}

function v2Body({ token, publicKeyPem, proof, csrPem }: ClientRequest): object {
  const credentials = { oidcIdentityToken: token };
  if (csrPem !== undefined) return { credentials, certificateSigningRequest: base64(csrPem) };
  const publicKey = { algorithm: 'ECDSA', content: publicKeyPem };
  return { credentials, publicKeyRequest: { publicKey, proofOfPossession: proof.toString('base64') } };
}

function v1Body({ publicKeyPem, proof, csrPem }: ClientRequest): object {
  if (csrPem !== undefined) return { certificateSigningRequest: base64(csrPem) };
  const publicKey = { algorithm: 'ecdsa', content: base64(publicKeyPem) };
  return { publicKey, signedEmailAddress: proof.toString('base64') };
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

function framed(request: ClientRequest, api: 'v1' | 'v2'): string {
  const body = JSON.stringify(api === 'v1' ? v1Body(request) : v2Body(request));
  const head = [
    `POST /api/${api}/signingCert HTTP/1.1`,
    'Host: 127.0.0.1',
    'Content-Type: application/json',
    ...(api === 'v1' ? [`Authorization: Bearer ${request.token}`] : []),
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  const text = `${head.join('\r\n')}\r\n\r\n${body}`;
  return `${text.length}\n${text}`;
}
