import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign, verify } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { signDigitally } from '../../src/ct/digitally-signed.js';
import { encodeMerkleTreeLeaf, encodeTimestampedEntry } from '../../src/ct/leaf.js';
import { encodeLeafIndex } from '../../src/ct/leaf-index.js';
import { encodeSctList, logIdOf, sctSigningInput } from '../../src/ct/sct.js';
import { type CheckpointSigner, signTreeHead } from '../../src/ctlog/checkpoint.js';
import { leafHash } from '../../src/ctlog/merkle.js';
import { encodeElement, encodeOid, encodeSequence, encodeTime, tag } from '../../src/x509/der.js';
import { encodeName } from '../../src/x509/name.js';
import { encodePem } from '../../src/x509/pem.js';
import { keyIdOf } from '../../src/x509/spki.js';
import { encodeCertificate, encodeTbs, newSerial, sctListExtension } from '../../src/x509/tbs.js';

/** A small certificate authority with a one-entry log, which can be told to misbehave. */

export type LabAlgorithm = 'p256' | 'p384' | 'ed25519' | 'rsa';

interface AlgorithmRow {
  readonly make: () => { privateKey: KeyObject; publicKey: KeyObject };
  readonly digest: string | null;
  readonly id: string;
}

const algorithms: Record<LabAlgorithm, AlgorithmRow> = {
  p256: {
    make: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    digest: 'sha256',
    id: '300a06082a8648ce3d040302',
  },
  p384: {
    make: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    digest: 'sha384',
    id: '300a06082a8648ce3d040303',
  },
  ed25519: { make: () => generateKeyPairSync('ed25519'), digest: null, id: '300506032b6570' },
  rsa: {
    make: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    digest: 'sha256',
    id: '300d06092a864886f70d01010b0500',
  },
};

export interface Party {
  readonly name: Uint8Array;
  readonly privateKey: KeyObject;
  readonly spki: Uint8Array;
  readonly algorithm: AlgorithmRow;
}

export function party(commonName: string, algorithm: LabAlgorithm = 'p256'): Party {
  const row = algorithms[algorithm];
  const { privateKey, publicKey } = row.make();
  const name = encodeName({ organization: 'lab', commonName });
  return { name, privateKey, spki: spkiOf(publicKey), algorithm: row };
}

export function spkiOf(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ type: 'spki', format: 'der' }));
}

function signedBy(issuer: Party, tbs: Uint8Array): Uint8Array {
  const { digest, id } = issuer.algorithm;
  return new Uint8Array(encodeCertificate(tbs, Buffer.from(id, 'hex'), sign(digest, tbs, issuer.privateKey)));
}

const extension = (oid: string, hex: string): Uint8Array =>
  encodeSequence(encodeOid(oid), Uint8Array.of(1, 1, 0xff), encodeElement(tag.octetString, Buffer.from(hex, 'hex')));

/** A CA certificate (or, with `ca` false, one that may not issue), valid from 2024 to 2099. */
export function caCertificate(subject: Party, issuer: Party, ca = true): Uint8Array {
  const extensions = [
    extension('2.5.29.19', ca ? '30030101ff' : '3000'),
    extension('2.5.29.15', ca ? '03020106' : '03020780'),
  ];
  const tbs = encodeSequence(
    encodeElement(tag.context(0), Uint8Array.of(2, 1, 2)),
    encodeElement(tag.integer, newSerial(randomBytes)),
    Buffer.from(issuer.algorithm.id, 'hex'),
    issuer.name,
    encodeSequence(encodeTime(new Date('2024-01-01')), encodeTime(new Date('2099-01-01'))),
    subject.name,
    subject.spki,
    encodeElement(tag.context(3), encodeSequence(...extensions)),
  );
  return signedBy(issuer, tbs);
}

export interface LabOptions {
  readonly algorithm?: LabAlgorithm;
  /** Whether the issuing certificate says that it is a CA. */
  readonly issuingIsCa?: boolean;
}

export interface IssueOptions {
  /** DER SubjectPublicKeyInfo in the certificate. */
  readonly spki: Uint8Array;
  readonly notBefore: Date;
  /** Signs the SCT; the log's own key if left out. */
  readonly sctKey?: KeyObject;
  /** Names the log in the SCT; that of `sctKey` if left out. */
  readonly sctLogId?: Uint8Array;
  readonly withSct?: boolean;
  readonly leafIndex?: number;
  readonly sctTimestamp?: number;
}

export interface IssuedByLab {
  readonly leaf: Uint8Array;
  /** Issuing CA first. */
  readonly chain: readonly Uint8Array[];
  readonly leafHash: Uint8Array;
}

export interface Lab {
  readonly root: Uint8Array;
  readonly issuing: Uint8Array;
  readonly logKey: KeyObject;
  readonly logSpki: Uint8Array;
  issue(options: IssueOptions): IssuedByLab;
}

const lifetimeMs = 10 * 60_000;

export function createLab({ algorithm = 'p256', issuingIsCa = true }: LabOptions = {}): Lab {
  const [rootParty, issuingParty] = [party('lab root', algorithm), party('lab issuing', algorithm)];
  const root = caCertificate(rootParty, rootParty);
  const issuing = caCertificate(issuingParty, rootParty, issuingIsCa);
  const log = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issuerKeyHash = createHash('sha256').update(issuingParty.spki).digest();
  return {
    root,
    issuing,
    logKey: log.privateKey,
    logSpki: spkiOf(log.publicKey),
    issue(options) {
      const fields = {
        serial: newSerial(randomBytes),
        signatureAlgorithm: Buffer.from(issuingParty.algorithm.id, 'hex'),
        issuerName: issuingParty.name,
        authorityKeyId: keyIdOf(issuingParty.spki),
        notBefore: options.notBefore,
        notAfter: new Date(options.notBefore.getTime() + lifetimeMs),
        spki: options.spki,
        san: { kind: 'email', value: 'jane@example.com' } as const,
        extensions: { issuer: 'https://issuer.example', issuerV2: 'https://issuer.example' },
      };
      const entry = { type: 'precert', tbs: encodeTbs(fields), issuerKeyHash } as const;
      const timestamp = BigInt(options.sctTimestamp ?? options.notBefore.getTime());
      const extensions = encodeLeafIndex(options.leafIndex ?? 0);
      const key = options.sctKey ?? log.privateKey;
      const signature = signDigitally(sctSigningInput(entry, timestamp, extensions), key);
      const sct = { logId: options.sctLogId ?? logIdOf(key), timestamp, extensions, signature };
      const last = options.withSct === false ? undefined : sctListExtension(encodeSctList([sct]));
      return {
        leaf: signedBy(issuingParty, encodeTbs(fields, last)),
        chain: [issuing, root],
        leafHash: leafHash(encodeMerkleTreeLeaf(encodeTimestampedEntry({ timestamp, entry, extensions }))),
      };
    },
  };
}

export interface FakeServerOptions {
  /** What stands in the answer instead of what was asked for. */
  readonly issue?: Partial<IssueOptions>;
  /** Answers POST /api/v2/signingCert in place of a certificate. */
  readonly answer?: { readonly status: number; readonly body: string };
  /** Signs tree heads; the log's own key if left out. */
  readonly treeHeadKey?: KeyObject;
  /** The leaf hash in the tree; that of the certificate if left out. */
  readonly otherLeaf?: Uint8Array;
  readonly withoutLog?: boolean;
  readonly trustedRoot?: string;
  readonly port?: number;
}

export interface FakeServer {
  readonly url: string;
  /** Bodies of the requests for certificates, and their Authorization headers. */
  readonly requests: { readonly body: Record<string, unknown>; readonly authorization: string | undefined }[];
  close(): Promise<void>;
}

/** An HTTP server that speaks as much of Fulcio's API and of RFC 6962 as a client asks for; its log has one entry. */
export async function startFakeServer(lab: Lab, options: FakeServerOptions = {}): Promise<FakeServer> {
  const requests: FakeServer['requests'] = [];
  let newest: Uint8Array = new Uint8Array(32);
  const issue = (body: Record<string, unknown>): string => {
    const notBefore = new Date(Math.floor(Date.now() / 1000) * 1000);
    const issued = lab.issue({ spki: requestedKey(body), notBefore, ...options.issue });
    newest = options.otherLeaf ?? issued.leafHash;
    const certificates = [issued.leaf, ...issued.chain].map((der) => encodePem('CERTIFICATE', der));
    return JSON.stringify({ signedCertificateEmbeddedSct: { chain: { certificates } } });
  };
  const gets: Record<string, () => string | undefined> = {
    '/api/v2/trustBundle': () =>
      JSON.stringify({
        chains: [{ certificates: [lab.issuing, lab.root].map((der) => encodePem('CERTIFICATE', der)) }],
      }),
    '/api/v2/configuration': () => JSON.stringify({ issuers: [{ issuerUrl: 'https://issuer.example' }] }),
    '/trust/trusted_root.json': () => options.trustedRoot,
    '/ctlog/ct/v1/get-sth': () =>
      options.withoutLog ? undefined : treeHead(newest, options.treeHeadKey ?? lab.logKey),
    '/ctlog/ct/v1/get-proof-by-hash': () => JSON.stringify({ leaf_index: 0, audit_path: [] }),
  };
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://fake');
    response.setHeader('x-request-id', 'request-1');
    if (request.method !== 'POST') {
      const text = gets[pathname]?.();
      response.writeHead(text === undefined ? 404 : 200).end(text ?? 'not found');
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body: Record<string, unknown> = JSON.parse(Buffer.concat(chunks).toString());
    requests.push({ body, authorization: request.headers.authorization });
    response.writeHead(options.answer?.status ?? 200).end(options.answer?.body ?? issue(body));
  });
  const url = await listen(server, options.port ?? 0);
  return {
    url,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function treeHead(root: Uint8Array, key: CheckpointSigner['key']): string {
  const head = signTreeHead({ size: 1, root, timestamp: Date.now() }, key);
  return JSON.stringify({
    tree_size: head.size,
    timestamp: head.timestamp,
    sha256_root_hash: Buffer.from(head.root).toString('base64'),
    tree_head_signature: Buffer.from(head.signature).toString('base64'),
  });
}

async function listen(server: Server, port: number): Promise<string> {
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

/** The key of a request, from its PEM or from the one place in a CSR without names where it can stand. */
function requestedKey(body: Record<string, unknown>): Uint8Array {
  const request = body.publicKeyRequest as { publicKey: { content: string } } | undefined;
  if (request !== undefined) return Buffer.from(request.publicKey.content.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  const pem = Buffer.from(String(body.certificateSigningRequest), 'base64').toString();
  const csr = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  return spkiInCsr(csr);
}

function spkiInCsr(csr: Buffer): Uint8Array {
  const info = csr.subarray(csr[1] === 0x82 ? 4 : csr[1] === 0x81 ? 3 : 2);
  const fields = info.subarray(info[1] === 0x82 ? 4 : info[1] === 0x81 ? 3 : 2);
  const spki = fields.subarray(3 + 2);
  const [header, length] =
    spki[1] === 0x82 ? [4, spki.readUInt16BE(2)] : spki[1] === 0x81 ? [3, spki[2] ?? 0] : [2, spki[1] ?? 0];
  return spki.subarray(0, header + length);
}

/** Whether the proof of possession of a request is a signature of `challenge` by its key. */
export function proves(body: Record<string, unknown>, digest: string | null, challenge: string): boolean {
  const request = body.publicKeyRequest as { publicKey: { content: string }; proofOfPossession: string };
  return verify(
    digest,
    Buffer.from(challenge),
    request.publicKey.content,
    Buffer.from(request.proofOfPossession, 'base64'),
  );
}

/** An unsigned token with these claims; the fake server verifies none. */
export function fakeToken(claims: Record<string, unknown>): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'ES256' })}.${part(claims)}.c2ln`;
}
