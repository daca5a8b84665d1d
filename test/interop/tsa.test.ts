import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TrustedRoot } from '@sigstore/protobuf-specs';
import { FulcioSigner, MessageSignatureBundleBuilder, TSAWitness } from '@sigstore/sign';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { createTrustFiles, signBlob, verifyBlob } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { startRekor } from './rekor.js';
import { startTimestampAuthority } from './timestamp-authority.js';
import { ownTrustFiles, readTrustedRoot, writeClientTrustConfig } from './trust-files.js';

const jane = 'jane@example.com';
const lifetimeMs = 8_000;

let lab: Lab;
let ca: CaServer;
let issuer: OidcIssuer;
let endpoint: string;

beforeAll(async () => {
  lab = await openLab();
  const accounts = [{ sub: jane, email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
  const flags = ['--tsa', '--certificate-lifetime', `${lifetimeMs}ms`];
  ca = lab.keep(await startCa({ dir: lab.dir, config: emailIssuerConfig(issuer.url), log: true, flags }));
  endpoint = `${ca.url}/api/v1/timestamp`;
});
afterAll(() => lab.close());

async function blob(name: string): Promise<string> {
  const path = join(lab.dir, name);
  await writeFile(path, `a file to sign: ${name}\n`);
  return path;
}

describe('openssl ts', () => {
  const openssl = (...args: string[]) => mustRun('openssl', args, { cwd: lab.dir });

  /** Sends a query as `openssl ts -query` writes it and leaves the reply in a file. */
  async function stamp(file: string, ...options: string[]): Promise<{ query: string; reply: string; status: number }> {
    const [query, reply] = [`${file}.tsq`, `${file}.tsr`];
    await openssl('ts', '-query', '-data', file, ...options, '-out', query);
    const headers = { 'Content-Type': 'application/timestamp-query' };
    const response = await fetch(endpoint, { method: 'POST', headers, body: await readFile(query) });
    await writeFile(reply, Buffer.from(await response.arrayBuffer()));
    return { query, reply, status: response.status };
  }

  test.each([
    ['-sha256', '-cert'],
    ['-sha384', '-cert', '-no_nonce'],
    ['-sha512', '-cert', '-tspolicy', '1.3.6.1.4.1.57264.2'],
  ])('verifies the answer to a query with %s %s', async (...options) => {
    const file = await blob(`openssl${options.join('')}`);
    const { query, reply } = await stamp(file, ...options);
    const chain = ['-CAfile', join(ca.trustDir, 'tsa.pem')];
    await openssl('ts', '-verify', '-queryfile', query, '-in', reply, ...chain);
    await openssl('ts', '-verify', '-data', file, '-in', reply, ...chain);
    const other = await blob('another');
    expect(
      (await run('openssl', ['ts', '-verify', '-data', other, '-in', reply, ...chain], { cwd: lab.dir })).code,
    ).not.toBe(0);
  });

  test('verifies a token without certificates when it has the chain', async () => {
    const file = await blob('openssl-bare');
    const { reply } = await stamp(file, '-sha256');
    const chain = join(ca.trustDir, 'tsa.pem');
    await openssl('ts', '-verify', '-data', file, '-in', reply, '-CAfile', chain, '-untrusted', chain);
  });

  test.each([
    ['-sha1', 'unrecognized or unsupported algorithm identifier'],
    ['-tspolicy', 'the requested TSA policy is not supported by the TSA'],
  ])('reads from the reply why a query with %s was refused', async (option, reason) => {
    const options = option === '-tspolicy' ? ['-sha256', option, '1.2.3.4'] : [option];
    const { reply, status } = await stamp(await blob(`refused${option}`), ...options);
    expect(status).toBe(400);
    const { stdout } = await openssl('ts', '-reply', '-in', reply, '-text');
    expect(stdout).toContain('Status: Rejected.');
    expect(stdout).toContain(`Failure info: ${reason}`);
  });
});

test('what cosign signs with the files that Mayfly wrote verifies after the certificate has expired', async () => {
  const trust = ownTrustFiles(ca.trustDir);
  const file = await blob('cosign');
  const bundle = await signBlob(lab.dir, trust, await issuer.idToken(jane), file);
  const verify = (identity: string, timestamped: boolean) =>
    verifyBlob(lab.dir, trust.trustedRoot, bundle, file, {
      identity,
      issuerUrl: issuer.url,
      timestamped,
      logged: true,
    });
  await sleep(lifetimeMs + 1_000);

  expect(await verify(jane, true)).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
  const untimed = await verify(jane, false);
  expect(untimed.code).not.toBe(0);
  expect(untimed.stderr).toContain('leaf certificate verification failed');
  expect((await verify('mallory@example.com', true)).code).not.toBe(0);
});

test('cosign 2 takes a timestamp by URL and verifies it with tsa.pem', async () => {
  const file = await blob('cosign-2');
  const [signature, certificate, timestamp] = [`${file}.sig`, `${file}.pem`, `${file}.ts`];
  const env = {
    SIGSTORE_ROOT_FILE: join(ca.trustDir, 'ca.pem'),
    SIGSTORE_CT_LOG_PUBLIC_KEY_FILE: join(ca.trustDir, 'ctlog.pub.pem'),
  };
  const options = { cwd: lab.dir, env };
  const cosign = toolPath('bin/cosign-v2');
  const source = [
    '--yes',
    '--identity-token',
    await issuer.idToken(jane),
    '--fulcio-url',
    ca.url,
    '--tlog-upload=false',
  ];
  const out = ['--output-signature', signature, '--output-certificate', certificate, '--rfc3161-timestamp', timestamp];
  await mustRun(cosign, ['sign-blob', ...source, '--timestamp-server-url', endpoint, ...out, file], options);
  await sleep(lifetimeMs + 1_000);

  const stamped = ['--rfc3161-timestamp', timestamp, '--use-signed-timestamps'];
  const chain = ['--timestamp-certificate-chain', join(ca.trustDir, 'tsa.pem'), '--insecure-ignore-tlog'];
  const signed = ['--signature', signature, '--certificate', certificate];
  const identity = ['--certificate-identity', jane, '--certificate-oidc-issuer', issuer.url];
  const verified = await run(cosign, ['verify-blob', ...signed, ...stamped, ...chain, ...identity, file], options);
  expect(verified).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
});

test('sigstore-js takes a timestamp with its witness and verifies it after the certificate has expired', async () => {
  const data = Buffer.from('a file to sign\n');
  const getToken = () => issuer.idToken(jane);
  const signer = new FulcioSigner({ fulcioBaseURL: ca.url, identityProvider: { getToken } });
  const witnesses = [new TSAWitness({ tsaBaseURL: ca.url })];
  const bundle = await new MessageSignatureBundleBuilder({ signer, witnesses }).create({ data });
  await sleep(lifetimeMs + 1_000);

  const root = await readTrustedRoot(ownTrustFiles(ca.trustDir).trustedRoot);
  const thresholds = { ctlogThreshold: 1, tlogThreshold: 0, timestampThreshold: 1 };
  const policy = { subjectAlternativeName: '^jane@example\\.com$', extensions: { issuer: issuer.url } };
  const verifyWith = (trust: TrustedRoot) => () =>
    new Verifier(toTrustMaterial(trust), thresholds).verify(toSignedEntity(bundle, data), policy);
  expect(verifyWith(root)().identity?.subjectAlternativeName).toBe(jane);
  expect(verifyWith({ ...root, timestampAuthorities: [] })).toThrow(/timestamp/i);
});

test('sigstore-python takes a timestamp and verifies it, with a Rekor beside', async () => {
  const rekor = lab.keep(await startRekor(lab.dir));
  const made = await createTrustFiles(lab.dir, {
    ca,
    caChainPath: join(ca.trustDir, 'ca.pem'),
    ctLogKeyPath: join(ca.trustDir, 'ctlog.pub.pem'),
    rekor,
    issuerUrl: issuer.url,
  });
  const own = ownTrustFiles(ca.trustDir);
  const merged = async (ours: string, theirs: string, names: string[]): Promise<string> => {
    const [mine, other] = await Promise.all(
      [ours, theirs].map(async (path) => JSON.parse(await readFile(path, 'utf8'))),
    );
    const path = `${theirs}.merged`;
    await writeFile(path, JSON.stringify({ ...mine, ...Object.fromEntries(names.map((name) => [name, other[name]])) }));
    return path;
  };
  const config = await writeClientTrustConfig(lab.dir, {
    trustedRoot: await merged(own.trustedRoot, made.trustedRoot, ['tlogs']),
    signingConfig: await merged(own.signingConfig, made.signingConfig, ['rekorTlogUrls', 'rekorTlogConfig']),
  });
  const python = toolPath('venv/bin/python');
  const script = join(projectDir, 'test/interop/sigstore_client.py');
  const file = await blob('python');
  const bundle = `${file}.bundle`;
  await mustRun(python, [script, 'sign', config, file, bundle], { cwd: lab.dir, input: await issuer.idToken(jane) });
  expect(await readFile(bundle, 'utf8')).toContain('rfc3161Timestamps');
  await sleep(lifetimeMs + 1_000);
  const verified = await run(python, [script, 'verify', config, file, bundle, jane, issuer.url], { cwd: lab.dir });
  expect(verified).toMatchObject({ code: 0, stdout: 'verified\n' });
});

describe("beside Sigstore's timestamp-server", () => {
  const artifactHash = Buffer.alloc(32, 7).toString('base64');
  const json = (fields: object): string => JSON.stringify({ artifactHash, hashAlgorithm: 'sha256', ...fields });
  const types = { query: 'application/timestamp-query', json: 'application/json' } as const;
  let theirs: string;
  beforeAll(async () => {
    theirs = `${lab.keep(await startTimestampAuthority(lab.dir)).url}/api/v1/timestamp`;
  });

  const post = async (url: string, type: string, body: string) => {
    const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': type }, body });
    return { status: response.status, type: response.headers.get('content-type') };
  };

  test.each<[string, string, string]>([
    ['a JSON request', types.json, json({ certificates: true, nonce: 5 })],
    ['a nonce of 63 bits', types.json, json({}).replace('{', '{"nonce":9223372036854775807,')],
    ['a field nobody knows', types.json, json({ unknown: 1 })],
    ['its policy', types.json, json({ tsaPolicyOID: '1.3.6.1.4.1.57264.2' })],
  ])('%s is granted in the same form', async (_what, type, body) => {
    const expected = { status: 200, type: 'application/timestamp-reply' };
    expect(await post(theirs, type, body)).toEqual(expected);
    expect(await post(endpoint, type, body)).toEqual(expected);
  });

  test.each<[string, string, string]>([
    ['no DER', types.query, 'garbage'],
    ['no JSON', types.json, 'garbage'],
    ['an empty object', types.json, '{}'],
    ['SHA-1', types.json, json({ hashAlgorithm: 'sha1' })],
    ['a digest of another length', types.json, json({ hashAlgorithm: 'sha384' })],
    ['another policy', types.json, json({ tsaPolicyOID: '1.2.3.4' })],
    ['a nonce in a string', types.json, json({ nonce: '5' })],
    ['another content type', 'text/plain', 'x'],
  ])('%s is refused with the same status', async (_what, type, body) => {
    expect((await post(endpoint, type, body)).status).toBe((await post(theirs, type, body)).status);
  });

  test.each([
    ['GET', ''],
    ['POST', '/certchain'],
  ])('%s on the path%s is refused with the same status and the same Allow', async (method, path) => {
    const seen = await Promise.all([endpoint, theirs].map((url) => fetch(`${url}${path}`, { method })));
    const [ours, reference] = seen.map(({ status, headers }) => ({ status, allow: headers.get('allow') }));
    expect(ours).toEqual(reference);
  });

  test('the chain has the same form', async () => {
    const [ours, reference] = await Promise.all([endpoint, theirs].map((url) => fetch(`${url}/certchain`)));
    expect(ours?.headers.get('content-type')).toBe(reference?.headers.get('content-type'));
    expect(await ours?.text()).toBe(await readFile(join(ca.trustDir, 'tsa.pem'), 'utf8'));
  });
});

test('an own key and chain made with openssl, with an intermediate, is taken', async () => {
  const openssl = (...args: string[]) => mustRun('openssl', args, { cwd: lab.dir });
  const make = async (name: string, subject: string, extensions: string, issuerName?: string): Promise<void> => {
    await openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384', '-out', `${name}.key`);
    await openssl('req', '-new', '-key', `${name}.key`, '-subj', subject, '-out', `${name}.csr`);
    await writeFile(join(lab.dir, `${name}.ext`), extensions);
    const by =
      issuerName === undefined
        ? ['-signkey', `${name}.key`]
        : ['-CA', `${issuerName}.crt`, '-CAkey', `${issuerName}.key`];
    const out = ['-days', '30', '-extfile', `${name}.ext`, '-out', `${name}.crt`];
    await openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-CAcreateserial', ...out);
  };
  const caExtensions = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n';
  await make('tsroot', '/O=Example/CN=Root', caExtensions);
  await make('tsmiddle', '/O=Example/CN=Middle', caExtensions, 'tsroot');
  await make(
    'tsown',
    '/O=Example/CN=Time',
    'keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n',
    'tsmiddle',
  );
  const chain = await Promise.all(
    ['tsown', 'tsmiddle', 'tsroot'].map((name) => readFile(join(lab.dir, `${name}.crt`), 'utf8')),
  );
  await writeFile(join(lab.dir, 'tschain.pem'), chain.join(''));

  const dir = join(lab.dir, 'own-files');
  const files = ['--tsa-key', join(lab.dir, 'tsown.key'), '--tsa-cert-chain', join(lab.dir, 'tschain.pem')];
  const config = emailIssuerConfig(issuer.url);
  const other = lab.keep(await startCa({ dir, config, log: true, flags: ['--tsa', ...files] }));
  const trust = ownTrustFiles(other.trustDir);
  const file = await blob('own-files-blob');
  const bundle = await signBlob(lab.dir, trust, await issuer.idToken(jane), file);
  const expected = { identity: jane, issuerUrl: issuer.url, timestamped: true, logged: true };
  expect(await verifyBlob(lab.dir, trust.trustedRoot, bundle, file, expected)).toMatchObject({ code: 0 });
});

test('a clock that is set while the server runs stops the timestamps, and /readyz says so', async () => {
  const dir = join(lab.dir, 'jump');
  const faketime = (
    await mustRun('sh', ['-c', 'ls /usr/lib/*/faketime/libfaketime.so.1'], { cwd: lab.dir })
  ).stdout.trim();
  const offset = join(lab.dir, 'faketime');
  await writeFile(offset, '+0\n');
  const env = {
    LD_PRELOAD: faketime,
    FAKETIME_TIMESTAMP_FILE: offset,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  };
  const server = lab.keep(
    await startCa({ dir, config: emailIssuerConfig(issuer.url), log: true, flags: ['--tsa'], env }),
  );
  const ask = async () => {
    const body = JSON.stringify({ artifactHash: Buffer.alloc(32).toString('base64'), hashAlgorithm: 'sha256' });
    const headers = { 'Content-Type': 'application/json' };
    const response = await fetch(`${server.url}/api/v1/timestamp`, { method: 'POST', headers, body });
    return { status: response.status, body: Buffer.from(await response.arrayBuffer()).toString() };
  };
  expect(await ask()).toMatchObject({ status: 200 });

  await writeFile(offset, '+1h\n');
  expect(await ask()).toMatchObject({ status: 503, body: expect.stringContaining('jumped forward by 3600') });
  const ready = await fetch(`${server.url}/readyz`);
  expect(ready.status).toBe(503);
  expect(await ready.text()).toContain('timestamp-authority');
  // The log is written in batches.
  for (let tries = 0; tries < 100 && !server.printed().includes('the clock jumped'); tries += 1) await sleep(50);
  expect(server.printed()).toContain('the clock jumped');
});
