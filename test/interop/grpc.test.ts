import { createPublicKey, generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';

const jane = 'jane@example.com';
const create = 'dev.sigstore.fulcio.v2.CA/CreateSigningCertificate';
const check = 'grpc.health.v1.Health/Check';

const ways = [
  { name: 'a port of its own', onePort: false, tls: false },
  { name: 'the port of HTTP', onePort: true, tls: false },
  { name: 'a port of its own with TLS', onePort: false, tls: true },
];

let lab: Lab;
let issuer: OidcIssuer;

beforeAll(async () => {
  lab = await openLab();
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
});
afterAll(() => lab.close());

describe.each(ways)('gRPC on $name', ({ name, onePort, tls }) => {
  let dir: string;
  let ca: CaServer;
  let certificatePath: string;

  beforeAll(async () => {
    dir = join(lab.dir, name.replaceAll(' ', '-'));
    await mkdir(dir);
    const files = await makeTlsFiles(dir);
    ({ certificatePath } = files);
    const config = emailIssuerConfig(issuer.url);
    ca = await startCa({ dir, config, log: true, onePort, ...(tls && { grpcTls: files }) });
  });
  afterAll(() => ca?.close());

  /** One call of the Python client, which learns the messages by reflection. */
  async function python(method: string, request: object, metadata: readonly string[] = []): Promise<Answer> {
    const script = resolve(projectDir, 'test/interop/grpc/client.py');
    const args = [script, `127.0.0.1:${ca.grpcPort}`, method];
    if (tls) args.push('--tls-root', certificatePath);
    for (const pair of metadata) args.push('--metadata', pair);
    const { stdout } = await mustRun(toolPath('grpc-venv/bin/python'), args, {
      cwd: dir,
      input: JSON.stringify(request),
    });
    return JSON.parse(stdout);
  }

  /** One call of grpcurl; its arguments come before the address. */
  const grpcurl = (options: readonly string[], ...call: string[]) => {
    const security = tls ? ['-cacert', certificatePath] : ['-plaintext'];
    return run(toolPath('bin/grpcurl'), [...security, ...options, `127.0.0.1:${ca.grpcPort}`, ...call], { cwd: dir });
  };

  test('a Python client gets a certificate for its key', async () => {
    const { request, publicKey } = keyRequest();

    const answer = await python(create, {
      credentials: { oidcIdentityToken: await issuer.idToken('account-4711') },
      ...request,
    });

    expect(answer).toMatchObject({ code: 'OK', requestId: expect.stringMatching(/^[0-9a-f]{32}$/) });
    expectChain(answer.answer?.signedCertificateEmbeddedSct?.chain.certificates, publicKey);
  });

  test('a Python client gets a certificate with its token in the metadata', async () => {
    const { request, publicKey } = keyRequest();

    const answer = await python(create, request, [`oidcidentitytoken=${await issuer.idToken('account-4711')}`]);

    expectChain(answer.answer?.signedCertificateEmbeddedSct?.chain.certificates, publicKey);
  });

  test('a Python client reads why it got none', async () => {
    const { request } = keyRequest();

    const answer = await python(create, { credentials: { oidcIdentityToken: 'a.b.c' }, ...request });

    expect(answer).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'TOKEN_MALFORMED' });
    expect(answer.message).toMatch(/^There was an error processing the identity token: ./);
  });

  test('a Python client reads the trust bundle, the configuration and the health', async () => {
    const bundle = await python('dev.sigstore.fulcio.v2.CA/GetTrustBundle', {});
    const configuration = await python('dev.sigstore.fulcio.v2.CA/GetConfiguration', {});
    const health = await python(check, { service: 'dev.sigstore.fulcio.v2.CA' });

    const http = await (await fetch(`${ca.url}/api/v2/trustBundle`)).json();
    expect(bundle.answer).toEqual(http);
    expect(configuration.answer).toMatchObject({ issuers: [{ issuerUrl: issuer.url, issuerType: 'email' }] });
    expect(health.answer).toEqual({ status: 'SERVING' });
  });

  test('grpcurl lists the services, reads the health and gets a certificate', async () => {
    const { request, publicKey } = keyRequest();
    const message = { credentials: { oidcIdentityToken: await issuer.idToken('account-4711') }, ...request };

    const list = await grpcurl([], 'list');
    const health = await grpcurl([], check);
    const made = await grpcurl(['-d', JSON.stringify(message)], create);

    expect(list.stdout.split('\n')).toEqual(
      expect.arrayContaining(['dev.sigstore.fulcio.v2.CA', 'grpc.health.v1.Health']),
    );
    expect(JSON.parse(health.stdout)).toEqual({ status: 'SERVING' });
    expectChain(JSON.parse(made.stdout).signedCertificateEmbeddedSct.chain.certificates, publicKey);
  });

  test('grpcurl prints the reason of a refusal', async () => {
    const refused = await grpcurl(['-d', '{}'], create);

    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('"reason": "TOKEN_MISSING"');
    expect(refused.stderr).toContain('Code: InvalidArgument');
  });
});

interface Answer {
  readonly code: string;
  readonly message: string;
  readonly reason?: string;
  readonly requestId: string;
  readonly answer?: {
    readonly signedCertificateEmbeddedSct?: { readonly chain: { readonly certificates: readonly string[] } };
  };
}

/** A request for a fresh key; the proof is over jane's address. */
function keyRequest() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const content = String(publicKey.export({ type: 'spki', format: 'pem' }));
  const proofOfPossession = sign('sha256', Buffer.from(jane), privateKey).toString('base64');
  return {
    publicKey: content,
    request: { publicKeyRequest: { publicKey: { algorithm: 'ECDSA', content }, proofOfPossession } },
  };
}

function expectChain(pems: readonly string[] | undefined, publicKeyPem: string): void {
  const [leaf, ...issuers] = (pems ?? []).map((pem) => new X509Certificate(pem));
  expect(leaf?.subjectAltName).toBe(`email:${jane}`);
  expect(leaf?.publicKey.equals(createPublicKey(publicKeyPem))).toBe(true);
  expect(issuers.length).toBeGreaterThan(0);
  expect(issuers[0] && leaf?.verify(issuers[0].publicKey)).toBe(true);
}

async function makeTlsFiles(dir: string) {
  const [certificatePath, keyPath] = [join(dir, 'tls.pem'), join(dir, 'tls.key')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '1'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyPath];
  await mustRun('openssl', ['req', '-x509', ...key, ...subject, '-out', certificatePath], { cwd: dir });
  return { certificatePath, keyPath };
}
