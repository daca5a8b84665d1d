import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun } from './command.js';
import { signBlob, verifyBlob } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { type CaDepth, type KeyKind, makeCa } from './openssl-ca.js';
import { childrenOf, type HsmLoad, isRunning, startHsmLoad, until } from './pkcs11-load.js';
import { makeSoftHsm, type SoftHsm, tokenPin } from './softhsm.js';
import { ownTrustFiles } from './trust-files.js';

const jane = 'jane@example.com';

let lab: Lab;
let issuer: OidcIssuer;

beforeAll(async () => {
  lab = await openLab();
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
});
afterAll(() => lab.close());

const pkcs11 = (hsm: SoftHsm, ...flags: string[]) => [
  '--ca',
  'pkcs11ca',
  '--pkcs11-config-path',
  hsm.configPath,
  ...flags,
];

function serve(dir: string, hsm: SoftHsm, ...flags: string[]): Promise<CaServer> {
  return startCa({
    dir,
    config: emailIssuerConfig(issuer.url),
    log: true,
    flags: pkcs11(hsm, ...flags),
    env: hsm.env,
  });
}

async function newDir(name: string): Promise<string> {
  const dir = join(lab.dir, name);
  await mkdir(dir);
  return dir;
}

/** A CA made by openssl, and its issuing key in a token under Fulcio's default label. */
async function importedCa(dir: string, kind: KeyKind, depth: CaDepth) {
  const hsm = await makeSoftHsm(dir);
  const files = await makeCa(dir, kind, depth);
  const issuing = depth === 'root only' ? 'root' : 'intermediate';
  await hsm.importKey(join(dir, `${issuing}.key`), 'PKCS11CA', '01');
  await hsm.importCertificate(join(dir, `${issuing}.pem`), '3939');
  return { hsm, chainPath: files.chainPath };
}

interface Variant {
  readonly name: string;
  prepare(dir: string): Promise<{ readonly hsm: SoftHsm; readonly flags: readonly string[] }>;
}

const variants: Variant[] = [
  {
    name: 'a P-384 root in the token, as Fulcio has it',
    async prepare(dir) {
      const { hsm } = await importedCa(dir, 'P-384', 'root only');
      return { hsm, flags: ['--hsm-caroot-id', '99'] };
    },
  },
  {
    name: 'a P-256 intermediate and its root in the token',
    async prepare(dir) {
      const { hsm } = await importedCa(dir, 'P-256', 'with intermediate');
      await hsm.importCertificate(join(dir, 'root.pem'), '01');
      return { hsm, flags: ['--hsm-caroot-id', '99'] };
    },
  },
  {
    name: 'an RSA key in the token and the chain in a file',
    async prepare(dir) {
      const { hsm, chainPath } = await importedCa(dir, 'RSA-3072', 'with intermediate');
      return { hsm, flags: ['--hsm-cert-chain-path', chainPath] };
    },
  },
  {
    name: 'a P-256 key that was made in the token and has never left it',
    async prepare(dir) {
      const hsm = await makeSoftHsm(dir, 'hsm', { MaxSessions: 3 });
      await makeCa(dir, 'P-384', 'with intermediate');
      await hsm.generateKey('issuing-2026', '05', join(dir, 'hsm.pub.pem'));
      const signed = ['-CA', 'root.pem', '-CAkey', 'root.key', '-days', '1825', '-extfile', 'ca.cnf'];
      const subject = [
        '-force_pubkey',
        'hsm.pub.pem',
        '-subj',
        '/O=Interop/CN=Interop HSM',
        '-extensions',
        'intermediate',
      ];
      await mustRun('openssl', ['x509', '-new', ...subject, ...signed, '-out', 'hsm.pem'], { cwd: dir });
      await hsm.importCertificate(join(dir, 'hsm.pem'), '05');
      await hsm.importCertificate(join(dir, 'root.pem'), '06');
      return { hsm, flags: ['--hsm-key-label', 'issuing-2026', '--hsm-caroot-id', '\u0005'] };
    },
  },
];

test.each(variants)('cosign signs and verifies with $name', async ({ name, prepare }) => {
  const dir = await newDir(name.replaceAll(/[ ,]+/g, '-'));
  const { hsm, flags } = await prepare(dir);
  const ca = lab.keep(await serve(dir, hsm, ...flags));
  const file = join(dir, 'blob');
  await writeFile(file, 'a file to sign\n');

  const trust = ownTrustFiles(ca.trustDir);
  const bundle = await signBlob(dir, trust, await issuer.idToken('account-4711'), file);

  const expected = { identity: jane, issuerUrl: issuer.url, timestamped: false, logged: true };
  const verified = await verifyBlob(dir, trust.trustedRoot, bundle, file, expected);
  expect(verified).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
  await ca.close();
  expect(ca.printed()).not.toContain(tokenPin);
});

test('a server that is killed leaves no process with the module behind', async () => {
  const dir = await newDir('killed');
  const { hsm } = await importedCa(dir, 'P-256', 'root only');
  const ca = lab.keep(await serve(dir, hsm, '--hsm-caroot-id', '99'));
  const children = childrenOf(ca.pid);
  expect(children).toHaveLength(1);
  process.kill(ca.pid, 'SIGKILL');
  await until('the process with the module has ended', () => !children.some(isRunning));
});

describe('when the HSM fails under load', () => {
  let ca: CaServer;
  let hsm: SoftHsm;
  let load: HsmLoad;
  let away: string;

  beforeAll(async () => {
    const dir = await newDir('failures');
    ({ hsm } = await importedCa(dir, 'P-256', 'root only'));
    ca = lab.keep(await serve(dir, hsm, '--hsm-caroot-id', '99'));
    away = `${hsm.tokenDir}.away`;
  });
  beforeEach(async () => {
    load = startHsmLoad(ca, await issuer.idToken('account-4711'), jane, 8);
    await until('certificates are issued', () => load.count(200) > 20);
  });
  afterEach(() => load.stop());

  async function recovers(): Promise<void> {
    load.forget();
    await until('certificates are issued again', () => load.count(200) > 20);
    await until('the server is ready again', async () => (await fetch(`${ca.url}/readyz`)).status === 200);
    await load.stop();
    expect(load.wrong).toEqual([]);
  }

  test('a token that vanishes gives 503 with Retry-After and not ready, and recovery without a restart', async () => {
    await rename(hsm.tokenDir, away);
    await until('requests are refused', () => load.count(503) > 20);
    const ready = await fetch(`${ca.url}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.text()).toMatch(/the key of the certificate authority cannot sign/);
    expect(load.retryAfter).toMatch(/^[1-9]\d*$/);
    expect(load.lastRefusal).toContain('the key of the certificate authority cannot sign now');
    await rename(away, hsm.tokenDir);
    await recovers();
  });

  test('a module that crashes costs no certificate: its process is started again', async () => {
    const [pid] = childrenOf(ca.pid);
    process.kill(pid ?? 0, 'SIGKILL');
    await until('another process is there', () => childrenOf(ca.pid).some((child) => child !== pid));
    const before = load.count(200);
    await until('certificates are issued again', () => load.count(200) > before + 20);
    expect(load.count(503)).toBe(0);
    await recovers();
  });

  test('a module that hangs is given up and its process replaced', async () => {
    const [pid] = childrenOf(ca.pid);
    process.kill(pid ?? 0, 'SIGSTOP');
    await until('the process is replaced', () => !childrenOf(ca.pid).includes(pid ?? 0));
    await recovers();
  });

  test('another key under the same label is refused until the right one is back', async () => {
    const dir = await newDir('another-key');
    const { hsm: other } = await importedCa(dir, 'P-256', 'root only');
    await rename(hsm.tokenDir, away);
    await rename(other.tokenDir, hsm.tokenDir);
    await until('the other key is noticed', async () =>
      (await (await fetch(`${ca.url}/readyz`)).text()).includes('another key'),
    );
    await rm(hsm.tokenDir, { recursive: true });
    await rename(away, hsm.tokenDir);
    await recovers();
  });

  test('the server ends in time while the token is away, and leaves no process behind', async () => {
    await rename(hsm.tokenDir, away);
    await until('requests are refused', () => load.count(503) > 5);
    await load.stop();
    const children = childrenOf(ca.pid);
    await ca.close();
    expect(children.filter(isRunning)).toEqual([]);
    expect(ca.printed()).not.toContain(tokenPin);
  });
});
