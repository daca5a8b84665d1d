import { createHash, createPublicKey } from 'node:crypto';
import { chmod, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedScts, signedPrecertOf } from '../../src/cli/verify-certificate-fields.js';
import { encodeMerkleTreeLeaf, encodeTimestampedEntry } from '../../src/ct/leaf.js';
import { logIdOf } from '../../src/ct/sct.js';
import { leafHash } from '../../src/ctlog/merkle.js';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { run, toolPath } from './command.js';
import { type Ctfe, startCtfe } from './ctfe.js';
import { type Lab, openLab } from './lab.js';
import { type Lie, type LyingProxy, startLyingProxy } from './lying-proxy.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { type CaFiles, makeCa } from './openssl-ca.js';
import { certificatesIn, requestV1, type V1Answer } from './v1-client.js';

/** Mayfly with a log that is not ours: Trillian and CTFE, an RFC 6962 log. */

const jane = 'jane@example.com';
/** --ct-log-timeout: the bound of one submission. */
const boundMs = 1500;

let lab: Lab;
let issuer: OidcIssuer;
let files: CaFiles;
let ctfe: Ctfe;
let proxy: LyingProxy;
let ca: CaServer;

function caWith(name: string, logUrl: string, caFiles: CaFiles): Promise<CaServer> {
  const flags = ['--ct-log-url', logUrl, '--ct-log-public-key-path', ctfe.publicKeyPath];
  flags.push('--ct-log-timeout', `${boundMs}ms`);
  const config = emailIssuerConfig(issuer.url);
  return startCa({ dir: join(lab.dir, name), config, log: true, files: caFiles, flags });
}

beforeAll(async () => {
  lab = await openLab();
  await chmod(lab.dir, 0o755); // PostgreSQL runs as another user
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
  files = await makeCa(lab.dir, 'P-256', 'with intermediate');
  ctfe = lab.keep(await startCtfe(lab.dir, files.chainPath));
  proxy = lab.keep(await startLyingProxy(ctfe.url));
  ca = lab.keep(await caWith('ca', ctfe.url, files));
});
afterAll(() => lab.close());

const ask = async (server: CaServer): Promise<V1Answer> =>
  requestV1(server.url, await issuer.idToken('account-4711'), jane, 'as cosign 2');

/** Asks until there is a certificate, for as long as a circuit may stay open. */
async function askUntilIssued(server: CaServer): Promise<V1Answer> {
  for (const end = Date.now() + 40_000; ; ) {
    const answer = await ask(server);
    if (answer.status === 201 || Date.now() > end) return answer;
    await sleep(250);
  }
}

/** Waits for a line that the server has written, or is about to. */
async function untilPrinted(server: CaServer, text: string): Promise<void> {
  for (const end = Date.now() + 10_000; !server.printed().includes(text); await sleep(50)) {
    if (Date.now() > end) throw new Error(`it did not print "${text}":\n${server.printed()}`);
  }
}

/** What ctclient says of the entry behind the one SCT of a certificate. */
async function inclusionOf(answer: V1Answer) {
  const [leaf, issuing] = certificatesIn(answer.body).map((certificate) => certificate.raw);
  if (leaf === undefined || issuing === undefined) throw new Error('an answer without a chain');
  const [sct, ...more] = embeddedScts(leaf);
  if (sct === undefined || more.length > 0) throw new Error(`${more.length} SCTs too many`);
  expect(Buffer.from(sct.logId)).toEqual(logIdOf(createPublicKey(await readFile(ctfe.publicKeyPath))));
  const entry = { type: 'precert', ...signedPrecertOf(leaf, issuing) } as const;
  const { timestamp, extensions } = sct;
  const hash = leafHash(encodeMerkleTreeLeaf(encodeTimestampedEntry({ timestamp, extensions, entry })));
  const args = [
    '--log_uri',
    ctfe.url,
    '--pub_key',
    ctfe.publicKeyPath,
    '--leaf_hash',
    Buffer.from(hash).toString('hex'),
  ];
  const inclusion = () => run(toolPath('bin/ctclient'), ['get-inclusion-proof', ...args], { cwd: lab.dir });
  // The log promises the entry and merges it a moment later.
  for (const end = Date.now() + 20_000; ; await sleep(200)) {
    const found = await inclusion();
    if (found.code === 0 || Date.now() > end) return found;
  }
}

test('a certificate carries an SCT of the log, and the log has the entry', async () => {
  const answer = await ask(ca);
  expect(answer.status).toBe(201);
  const inclusion = await inclusionOf(answer);
  expect(inclusion).toMatchObject({ code: 0, stdout: expect.stringContaining('Verified that hash') });
  const trust = await readFile(join(ca.trustDir, 'trusted_root.json'), 'utf8');
  const spki = createPublicKey(await readFile(ctfe.publicKeyPath)).export({ type: 'spki', format: 'der' });
  expect(JSON.parse(trust)).toMatchObject({
    ctlogs: [
      {
        baseUrl: ctfe.url,
        publicKey: { rawBytes: spki.toString('base64') },
        logId: { keyId: createHash('sha256').update(spki).digest('base64') },
      },
    ],
  });
});

test('the start says that the log accepts the root, and of another CA that it does not', async () => {
  await untilPrinted(ca, `the log ${ctfe.url} accepts the root of this CA`);
  const otherDir = join(lab.dir, 'other');
  await mkdir(otherDir);
  const stranger = await caWith('stranger', ctfe.url, await makeCa(otherDir, 'P-256', 'root only'));
  try {
    expect((await ask(stranger)).status).toBe(503);
    await untilPrinted(stranger, `the log ${ctfe.url} does NOT accept the root of this CA (O=Interop, CN=`);
  } finally {
    await stranger.close();
  }
});

test.each<[string, Lie, string]>([
  ['with a bit of the signature changed', (sct) => ({ ...sct, signature: flipped(sct.signature) }), 'does not verify'],
  ['with another timestamp', (sct) => ({ ...sct, timestamp: sct.timestamp + 1 }), 'does not verify'],
  ['with an extension added', (sct) => ({ ...sct, extensions: 'AAAFAAAAAAA=' }), 'does not verify'],
  ['of another log', (sct) => ({ ...sct, id: flipped(sct.id) }), 'of another log'],
  ['of the certificate before', (sct, previous) => previous ?? sct, 'does not verify'],
])('an SCT %s: no certificate leaves', async (what, lie, reason) => {
  const behind = await caWith(`behind-${what.replaceAll(' ', '-')}`, proxy.url, files);
  try {
    proxy.tell((sct) => sct);
    expect((await ask(behind)).status).toBe(201);
    proxy.tell(lie);
    const answer = await ask(behind);
    expect(answer).toMatchObject({ status: 503, body: expect.stringContaining(reason) });
    expect(Number(answer.retryAfter)).toBeGreaterThan(0);
    proxy.tell((sct) => sct);
    expect((await ask(behind)).status).toBe(201);
  } finally {
    await behind.close();
  }
});

function flipped(text: string): string {
  const bytes = Buffer.from(text, 'base64');
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return bytes.toString('base64');
}

test('while the log is down: 503 with Retry-After within the bound, not ready; afterwards certificates again', async () => {
  await ctfe.stop();
  const started = Date.now();
  const answer = await ask(ca);
  const tookMs = Date.now() - started;
  expect(answer).toMatchObject({ status: 503, body: expect.stringContaining('Error entering certificate in CTL') });
  expect(Number(answer.retryAfter)).toBeGreaterThan(0);
  expect(tookMs).toBeLessThan(boundMs + 3000);
  expect((await fetch(`${ca.url}/readyz`)).status).toBe(503);
  expect((await fetch(`${ca.url}/healthz`)).status).toBe(200);

  // After some failures the log is left alone, and the answer comes at once.
  await Promise.all(Array.from({ length: 5 }, () => ask(ca)));
  await untilPrinted(ca, 'times in a row: it is left alone for');
  expect(await ask(ca)).toMatchObject({ status: 503, body: expect.stringContaining('is not asked for another') });

  await ctfe.start();
  const again = await askUntilIssued(ca);
  expect(again.status).toBe(201);
  expect(await inclusionOf(again)).toMatchObject({ code: 0 });
  expect((await fetch(`${ca.url}/readyz`)).status).toBe(200);
});
