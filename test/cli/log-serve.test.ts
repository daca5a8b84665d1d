import { createPublicKey, X509Certificate } from 'node:crypto';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { fsckCommand } from '../../src/cli/log-fsck.js';
import { rotateCommand } from '../../src/cli/log-rotate.js';
import { embeddedScts, signedPrecertOf } from '../../src/cli/verify-certificate-fields.js';
import { verifySct } from '../../src/ct/sct.js';
import { type RunningLog, startLogServer } from '../../src/server/log-start.js';
import { encodePem } from '../../src/x509/pem.js';
import * as other from '../ctlog/certificates.js';
import { emailConfig, eventually, start, temporary } from '../server/lab.js';
import { type Answer, post, v2Body, v2Chain } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';

const jane = { email: 'jane@example.com', email_verified: true };
let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await startIssuer({ alg: 'ES256' });
});
afterAll(() => issuer.close());

const pemOf = (...certificates: readonly Uint8Array[]) =>
  certificates.map((der) => encodePem('CERTIFICATE', der)).join('');
const certificates = (...chain: readonly Uint8Array[]) =>
  JSON.stringify({ chain: chain.map((der) => Buffer.from(der).toString('base64')) });

interface Lab {
  readonly flags: Record<string, string>;
  readonly roots: string;
  readonly lines: string[];
}

function lab(rootsPem: string): Lab {
  const dir = temporary();
  const roots = join(dir, 'roots.pem');
  writeFileSync(roots, rootsPem);
  const flags = { host: '127.0.0.1', port: '0', 'metrics-port': '0', 'data-dir': join(dir, 'data') };
  return { flags, roots, lines: [] };
}

function startLog({ flags, roots, lines }: Lab, more: Record<string, string> = {}): Promise<RunningLog> {
  const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  return startLogServer({ ...flags, ...more }, roots, { environment: {}, logger });
}

test('CA processes submit to a log of its own process, and a restart of it is an outage that passes', async () => {
  const dir = temporary();
  const identity = { 'config-path': emailConfig(dir, issuer.url) };
  // A first start makes the CA, whose root the log has to know.
  const maker = await start({ ...identity, 'data-dir': join(dir, 'ca') });
  await maker.close();
  const place = lab('');
  copyFileSync(join(dir, 'ca', 'trust', 'ca.pem'), place.roots);
  const log = await startLog(place);
  const port = new URL(log.url).port;
  const external = {
    'ct-log-url': `${log.url}/ctlog`,
    'ct-log-public-key-path': log.publicKeyFile,
    'ct-log-timeout': '400ms',
  };
  const one = await start({ ...identity, ...external, 'data-dir': join(dir, 'ca') });
  const two = await start({ ...identity, ...external, 'data-dir': join(dir, 'ca') });
  const ask = async (url: string): Promise<Answer> =>
    post(`${url}/api/v2/signingCert`, v2Body(await issuer.token(jane), jane.email));

  const logKey = createPublicKey(readFileSync(log.publicKeyFile));
  for (const ca of [one, two]) {
    const [leaf, issuing] = v2Chain(await ask(ca.url));
    if (leaf === undefined || issuing === undefined) throw new Error('no certificate');
    const [sct] = embeddedScts(leaf.raw);
    expect(sct !== undefined && verifySct(sct, signedPrecertOf(leaf.raw, issuing.raw), logKey)).toBe(true);
  }
  expect((await fetch(`${one.url}/ctlog/checkpoint`)).status).toBe(404);

  await log.close();
  const during = await ask(one.url);
  expect([during.status, Number(during.headers.get('retry-after')) > 0]).toEqual([503, true]);
  const again = await startLog(place, { port });
  await eventually(async () => (await ask(one.url)).status === 200, 20_000);
  await eventually(async () => (await ask(two.url)).status === 200, 20_000);
  await Promise.all([one.close(), two.close()]);
  await again.close();

  const said: string[] = [];
  const io = { out: (text: string) => void said.push(text), err: () => {}, fetch, now: () => new Date() };
  const dataDir = place.flags['data-dir'] ?? '';
  expect(await fsckCommand(undefined, { dataDir, json: true }, { ...io, interactive: false })).toBe(0);
  expect(JSON.parse(said.join(''))).toMatchObject([{ sound: true, origin: `127.0.0.1:${port}/ctlog`, findings: [] }]);
  // As it is after a restore: the trust files come with the next start.
  rmSync(join(dataDir, 'trust'), { recursive: true });
  expect(await fsckCommand(undefined, { dataDir, json: true }, { ...io, interactive: false })).toBe(0);
}, 60_000);

describe('with the root alone in --roots', () => {
  let log: RunningLog;
  const place = lab(pemOf(other.rootDer));
  beforeAll(async () => {
    log = await startLog(place);
  });
  afterAll(() => log.close());
  const add = (name: string, ...chain: readonly Uint8Array[]) =>
    post(`${log.url}/ctlog/ct/v1/${name}`, certificates(...chain));

  test('get-roots shows it', async () => {
    const answer = (await (await fetch(`${log.url}/ctlog/ct/v1/get-roots`)).json()) as { certificates: string[] };
    expect(answer.certificates).toEqual([other.rootDer.toString('base64')]);
  });

  const { precertificate } = other.newPrecertificate();
  const stranger = other.party('test issuing CA');
  test.each<[string, number, string, readonly Uint8Array[]]>([
    ['leaf, intermediate, root', 200, 'add-pre-chain', [precertificate, other.issuingDer, other.rootDer]],
    ['leaf, intermediate', 200, 'add-pre-chain', [precertificate, other.issuingDer]],
    ['a final certificate', 200, 'add-chain', [other.newCertificate(), other.issuingDer, other.rootDer]],
    ['a certificate of the root itself', 200, 'add-chain', [other.newCertificate(other.root)]],
    ['a leaf without its intermediate', 400, 'add-pre-chain', [precertificate]],
    [
      'a leaf that the intermediate did not issue',
      400,
      'add-chain',
      [other.newCertificate(stranger), other.issuingDer],
    ],
    ['a leaf in the place of an intermediate', 400, 'add-chain', [other.newCertificate(), other.newCertificate()]],
    ['a path in the wrong order', 400, 'add-pre-chain', [precertificate, other.rootDer, other.issuingDer]],
    ['bytes that are no certificate', 400, 'add-pre-chain', [precertificate, Buffer.from('nonsense')]],
  ])('%s gets %i', async (_name, status, endpoint, chain) => {
    const answer = await add(endpoint, ...chain);
    expect(answer.status).toBe(status);
    if (status === 200) expect(JSON.parse(answer.text)).toMatchObject({ sct_version: 0 });
    else expect(answer.text).toContain('The log does not accept this submission: ');
  });

  test('it answers /healthz, /readyz and metrics, and nothing of a CA', async () => {
    expect((await fetch(`${log.url}/healthz`)).status).toBe(200);
    const ready = await fetch(`${log.url}/readyz`);
    expect([ready.status, await ready.text()]).toEqual([200, expect.stringContaining('"name":"ct-log","ok":true')]);
    expect((await post(`${log.url}/api/v2/signingCert`, '{}')).status).toBe(404);
    const metrics = await (await fetch(log.metricsUrl)).text();
    expect(metrics).toMatch(/^mayfly_ctlog_tree_size [1-9]/m);
    expect(metrics).toMatch(/^mayfly_ctlog_ready 1$/m);
    expect(metrics).not.toContain('fulcio_new_certs');
  });

  test('a second process on the same directory is refused', async () => {
    await expect(startLog(place)).rejects.toMatchObject({
      detail: expect.stringContaining('in use by another process'),
    });
  });

  test('the whole log is checked over HTTP', async () => {
    const said: string[] = [];
    const io = { out: (text: string) => void said.push(text), err: () => {}, fetch, now: () => new Date() };
    const options = { dataDir: '', publicKey: log.publicKeyFile };
    expect(await fsckCommand(`${log.url}/ctlog/`, options, { ...io, interactive: false })).toBe(0);
    expect(said.join('')).toMatch(/: sound\n[\s\S]*entries {5}[1-9]/);
    const wrong = { ...options, origin: 'ca.example.com/ctlog' };
    expect(await fsckCommand(`${log.url}/ctlog`, wrong, { ...io, interactive: false })).toBe(1);
    expect(said.join('')).toMatch(
      /NOT SOUND, 1 thing is wrong\n {2}checkpoint\n {4}expected .*\n {4}found {4}its origin is/,
    );
  });
});

test('a log that was rotated serves both, with the key of each beside it', async () => {
  const place = lab(pemOf(other.rootDer));
  const first = await startLog(place, { 'public-url': 'https://log.example.com' });
  const oldKey = readFileSync(first.publicKeyFile, 'utf8');
  const chain = [other.newCertificate(), other.issuingDer];
  expect((await post(`${first.url}/ctlog/ct/v1/add-chain`, certificates(...chain))).status).toBe(200);
  await first.close();
  const dataDir = place.flags['data-dir'] ?? '';
  await rotateCommand({ dataDir }, { out: () => {}, err: () => {}, now: () => new Date() });
  const second = await startLog(place);
  expect(second.logUrl).toBe('https://log.example.com/ctlog2');
  const frozenKey = join(dataDir, 'trust', 'frozen', 'ctlog.pub.pem');
  expect(readFileSync(frozenKey, 'utf8')).toBe(oldKey);
  expect(readFileSync(second.publicKeyFile, 'utf8')).not.toBe(oldKey);
  const statuses = ['ctlog', 'ctlog2'].map(
    async (name) => (await post(`${second.url}/${name}/ct/v1/add-chain`, certificates(...chain))).status,
  );
  expect(await Promise.all(statuses)).toEqual([400, 200]);
  const io = { out: () => {}, err: () => {}, fetch, now: () => new Date(), interactive: false };
  expect(await fsckCommand(`${second.url}/ctlog`, { dataDir, publicKey: frozenKey }, io)).toBe(0);
  await second.close();
});

test('changed roots are taken over, and a bad file leaves the old ones in force', async () => {
  const place = lab(pemOf(other.rootDer));
  const log = await startLog(place);
  const lone = other.party('another root');
  const loneDer = other.signedBy(
    lone,
    other.tbsOf(lone, lone, [Buffer.from('300f0603551d130101ff040530030101ff', 'hex')]),
  );
  expect(new X509Certificate(loneDer).ca).toBe(true);
  const status = async (from: typeof lone) =>
    (await post(`${log.url}/ctlog/ct/v1/add-chain`, certificates(other.newCertificate(from)))).status;
  expect([await status(other.root), await status(lone)]).toEqual([200, 400]);
  writeFileSync(place.roots, pemOf(loneDer));
  log.reload('SIGHUP');
  expect([await status(other.root), await status(lone)]).toEqual([400, 200]);
  writeFileSync(place.roots, pemOf(other.newCertificate()));
  log.reload('SIGHUP');
  expect(place.lines.join('')).toMatch(
    /accepted roots refused, the old ones stay: .*is not one of a certificate authority/,
  );
  expect(await status(lone)).toBe(200);
  writeFileSync(place.roots, pemOf(other.rootDer));
  await eventually(async () => (await status(other.root)) === 200);
  await log.close();
});

test.each([
  ['that is not there', undefined, /--roots .*: .*ENOENT/],
  ['without a certificate', 'nothing\n', /it holds no PEM block "CERTIFICATE"; expected at least one root/],
  ['with a damaged certificate', pemOf(Buffer.from('nonsense')), /certificate 1 of 1 is malformed/],
  ['with a leaf', pemOf(other.rootDer, other.newCertificate()), /certificate 2 of 2 \(CN=leaf\) is not one of a cert/],
])('a bundle of roots %s stops the start', async (_name, text, message) => {
  const place = lab(text ?? '');
  const roots = text === undefined ? join(temporary(), 'missing.pem') : place.roots;
  await expect(startLog({ ...place, roots })).rejects.toMatchObject({ detail: expect.stringMatching(message) });
});

test('the variables of a CA in the environment do not disturb a log', async () => {
  const place = lab(pemOf(other.rootDer));
  const environment = { FULCIO_SERVE_CT_LOG_URL: 'no url', FULCIO_SERVE_PORT: '0', FULCIO_SERVE_HOST: '127.0.0.1' };
  const flags = { 'metrics-port': '0', 'data-dir': place.flags['data-dir'] ?? '' };
  const log = await startLogServer(flags, place.roots, { environment, logger: pino({ level: 'silent' }) });
  expect(log.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  await log.close();
});
