import { createPublicKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedScts } from '../../src/cli/verify-certificate-fields.js';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import { encodeSct, logIdOf } from '../../src/ct/sct.js';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, projectDir } from './command.js';
import { signBlob, type TrustFiles, verifyBlob } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { makeCa } from './openssl-ca.js';
import { startTesseraCt, type TesseraCt } from './tesseract.js';
import { certificatesIn, requestV1, type V1Answer } from './v1-client.js';

/** Mayfly with a static-ct-api log that is not ours: TesseraCT. */

const jane = 'jane@example.com';

let lab: Lab;
let issuer: OidcIssuer;
let log: TesseraCt;
let ca: CaServer;
let monitor: string;

beforeAll(async () => {
  lab = await openLab();
  monitor = join(lab.dir, 'static-ct');
  const module = join(projectDir, 'test/interop/static-ct');
  // With this process's environment: Go keeps its modules and its cache in the home directory.
  const inherited = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? '']));
  const env = { ...inherited, TMPDIR: lab.dir };
  await mustRun('go', ['build', '-o', monitor, '.'], { cwd: module, env, timeoutMs: 300_000 });
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
  const files = await makeCa(lab.dir, 'P-256', 'with intermediate');
  log = lab.keep(await startTesseraCt(lab.dir, files.chainPath));
  const list = join(lab.dir, 'logs.yaml');
  const entry = [`url: ${log.url}`, `monitoring-url: ${log.monitoringUrl}`, `public-key: ${log.publicKeyPath}`];
  await writeFile(list, `logs:\n  - ${entry.join('\n    ')}\n    timeout: 3s\n`);
  const config = emailIssuerConfig(issuer.url);
  ca = lab.keep(
    await startCa({ dir: join(lab.dir, 'ca'), config, log: true, files, flags: ['--ct-logs-config', list] }),
  );
}, 360_000);
afterAll(() => lab.close());

const ask = async (): Promise<V1Answer> => requestV1(ca.url, await issuer.idToken('account-4711'), jane, 'as cosign 2');

/** The one SCT in a certificate; it must be of the log. */
async function sctIn(answer: V1Answer) {
  const [leaf] = certificatesIn(answer.body).map((certificate) => certificate.raw);
  if (leaf === undefined) throw new Error(`an answer without a certificate: ${answer.body}`);
  const [sct, ...more] = embeddedScts(leaf);
  if (sct === undefined || more.length > 0) throw new Error('expected one SCT');
  expect(Buffer.from(sct.logId)).toEqual(logIdOf(createPublicKey(await readFile(log.publicKeyPath))));
  return sct;
}

/** What Sunlight's client finds in the whole log, and at which indexes the entries of these answers. */
async function monitored(answers: readonly V1Answer[]): Promise<unknown> {
  const scts = await Promise.all(answers.map(async (answer) => Buffer.from(encodeSct(await sctIn(answer)))));
  const input = scts.map((sct) => `${sct.toString('base64')}\n`).join('');
  const args = ['-prefix', log.monitoringUrl, '-key', log.publicKeyPath];
  return JSON.parse((await mustRun(monitor, args, { cwd: lab.dir, input })).stdout);
}

const trustFiles = (): TrustFiles => ({
  trustedRoot: join(ca.trustDir, 'trusted_root.json'),
  signingConfig: join(ca.trustDir, 'signing_config.json'),
});

test('the SCTs carry leaf indexes at which a monitor finds the entries', async () => {
  const answers = [await ask(), await ask(), await ask()];
  expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
  const indexes = await Promise.all(answers.map(async (answer) => decodeLeafIndex((await sctIn(answer)).extensions)));
  expect(new Set(indexes).size).toBe(3);
  expect(await monitored(answers)).toMatchObject({ included: indexes });
});

test('cosign signs and verifies with the trust files, which name the monitoring URL', async () => {
  const file = join(lab.dir, 'blob');
  await writeFile(file, 'hello');
  const bundle = await signBlob(lab.dir, trustFiles(), await issuer.idToken('account-4711'), file);
  const expected = { identity: jane, issuerUrl: issuer.url, timestamped: false, logged: true };
  const verified = await verifyBlob(lab.dir, trustFiles().trustedRoot, bundle, file, expected);
  expect(verified).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
  const root: unknown = JSON.parse(await readFile(trustFiles().trustedRoot, 'utf8'));
  expect(root).toMatchObject({ ctlogs: [{ baseUrl: log.monitoringUrl }] });
});

test('the start says that the log accepts the root', () => {
  expect(ca.printed()).toContain(`the log ${log.url} accepts the root of this CA`);
});

test('while the log is down there is no certificate; afterwards there is, and nothing is lost', async () => {
  const before = await ask();
  await log.stop();
  const refused = await ask();
  expect(refused.status).toBe(503);
  expect(Number(refused.retryAfter)).toBeGreaterThan(0);
  await log.start();
  let after = await ask();
  for (const end = Date.now() + 40_000; after.status !== 201 && Date.now() < end; after = await ask()) await sleep(250);
  const indexes = await Promise.all([before, after].map(async (one) => decodeLeafIndex((await sctIn(one)).extensions)));
  expect(await monitored([before, after])).toMatchObject({ included: indexes });
});
