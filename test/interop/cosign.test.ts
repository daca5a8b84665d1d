import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { createTrustFiles, signBlob, type TrustFiles, verifyBlob } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { type CaDepth, type KeyKind, makeCa, makeKeyPair } from './openssl-ca.js';
import { startTimestampAuthority, type TimestampAuthority } from './timestamp-authority.js';
import { ownTrustFiles, withServicesOf } from './trust-files.js';

const jane = 'jane@example.com';
const someoneElse = 'mallory@example.com';

interface Instance {
  readonly name: string;
  /** With it `serve --ca fileca` on such a chain, without it the data directory's own CA. */
  readonly chain?: readonly [KeyKind, CaDepth];
  readonly log: boolean;
}

const instances: Instance[] = [
  { name: 'its own data directory', log: true },
  { name: 'a P-256 root', chain: ['P-256', 'root only'], log: true },
  { name: 'a P-256 intermediate', chain: ['P-256', 'with intermediate'], log: true },
  { name: 'a P-384 root', chain: ['P-384', 'root only'], log: true },
  { name: 'a P-384 intermediate', chain: ['P-384', 'with intermediate'], log: true },
  { name: 'an RSA intermediate', chain: ['RSA-3072', 'with intermediate'], log: true },
  { name: 'a P-256 intermediate and no log', chain: ['P-256', 'with intermediate'], log: false },
  { name: 'its own data directory and no log', log: false },
];

const trustVariants = [
  { writtenBy: 'Mayfly', timestamped: true },
  { writtenBy: 'Mayfly', timestamped: false },
  { writtenBy: 'cosign', timestamped: true },
  { writtenBy: 'cosign', timestamped: false },
];

let lab: Lab;
let issuer: OidcIssuer;
let tsa: TimestampAuthority;

beforeAll(async () => {
  lab = await openLab();
  tsa = lab.keep(await startTimestampAuthority(lab.dir));
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
});
afterAll(() => lab.close());

describe.each(instances)('cosign 3 with a CA on $name', ({ name, chain, log }) => {
  let dir: string;
  let ca: CaServer;
  let caChainPath: string;

  beforeAll(async () => {
    dir = join(lab.dir, name.replaceAll(' ', '-'));
    await mkdir(dir);
    const files = chain && (await makeCa(dir, ...chain));
    ca = await startCa({ dir, config: emailIssuerConfig(issuer.url), log, ...(files && { files }) });
    caChainPath = files?.chainPath ?? join(ca.trustDir, 'ca.pem');
  });
  afterAll(() => ca?.close());

  /** Mayfly's own files or cosign's, with or without the timestamp authority in them. */
  async function trustFiles(writtenBy: string, timestamped: boolean): Promise<TrustFiles> {
    const own = ownTrustFiles(ca.trustDir);
    if (writtenBy === 'Mayfly' && !timestamped) return own;
    const logKey = log ? { ctLogKeyPath: join(ca.trustDir, 'ctlog.pub.pem') } : {};
    const services = timestamped ? { tsa } : {};
    const made = await createTrustFiles(dir, { ca, caChainPath, issuerUrl: issuer.url, ...logKey, ...services });
    return writtenBy === 'Mayfly' ? withServicesOf(dir, own, made) : made;
  }

  test.each(trustVariants)(
    'signs and verifies with the trust files that $writtenBy wrote (timestamped: $timestamped), and no one else passes',
    async ({ writtenBy, timestamped }) => {
      const trust = await trustFiles(writtenBy, timestamped);
      const file = join(dir, `blob-${writtenBy}-${timestamped}`);
      await writeFile(file, 'a file to sign\n');

      const bundle = await signBlob(dir, trust, await issuer.idToken('account-4711'), file);

      const expected = { identity: jane, issuerUrl: issuer.url, timestamped, logged: log };
      const verify = (change: object) => verifyBlob(dir, trust.trustedRoot, bundle, file, { ...expected, ...change });
      const good = await verify({});
      expect(good).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
      const wrongIdentity = await verify({ identity: someoneElse });
      expect(wrongIdentity.stderr).toContain(`expected SAN value "${someoneElse}", got "${jane}"`);
      expect(wrongIdentity.code).not.toBe(0);
      const wrongIssuer = await verify({ issuerUrl: 'http://127.0.0.1:1' });
      expect(wrongIssuer.stderr).toContain(issuer.url);
      expect(wrongIssuer.code).not.toBe(0);
      await writeFile(file, 'another file\n');
      expect((await verify({})).code).not.toBe(0);
    },
  );

  if (!log) return;
  test('refuses the certificate when it trusts another log', async () => {
    const file = join(dir, 'blob-other-log');
    await writeFile(file, 'a file to sign\n');
    const bundle = await signBlob(dir, ownTrustFiles(ca.trustDir), await issuer.idToken('account-4711'), file);
    const otherLog = await makeKeyPair(dir, 'P-256', 'other-log');

    const trust = await createTrustFiles(dir, {
      ca,
      caChainPath,
      issuerUrl: issuer.url,
      ctLogKeyPath: otherLog.publicKeyPath,
    });
    const expected = { identity: jane, issuerUrl: issuer.url, timestamped: false, logged: true };
    const verified = await verifyBlob(dir, trust.trustedRoot, bundle, file, expected);

    expect(verified.stderr).toMatch(/SCT|signed certificate timestamp/i);
    expect(verified.code).not.toBe(0);
  });
});
