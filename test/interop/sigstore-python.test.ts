import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { createTrustFiles } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { type CaDepth, type KeyKind, makeCa } from './openssl-ca.js';
import { startRekor } from './rekor.js';
import { startTimestampAuthority } from './timestamp-authority.js';
import { ownTrustFiles, withServicesOf, writeClientTrustConfig } from './trust-files.js';

const jane = 'jane@example.com';
const script = join(projectDir, 'test/interop/sigstore_client.py');

interface Case {
  readonly name: string;
  readonly algorithm: 'RS256' | 'ES256';
  readonly chain?: readonly [KeyKind, CaDepth, organization?: string];
}

const cases: Case[] = [
  { name: "the data directory's CA and an RS256 token", algorithm: 'RS256' },
  { name: 'a P-384 intermediate and an ES256 token', algorithm: 'ES256', chain: ['P-384', 'with intermediate'] },
  // sigstore-python wants an organization in the trusted root, even an empty one
  { name: 'a root without an organization', algorithm: 'RS256', chain: ['P-256', 'root only', ''] },
];

describe.each(cases)('sigstore-python with $name', ({ algorithm, chain }) => {
  let lab: Lab;
  let ca: CaServer;
  let issuer: OidcIssuer;
  let trustConfig: string;

  beforeAll(async () => {
    lab = await openLab();
    // sigstore-python takes the identity of an unknown issuer's token from its sub.
    issuer = lab.keep(
      await startOidcIssuer({ algorithm, accounts: [{ sub: jane, email: jane, email_verified: true }] }),
    );
    const tsa = lab.keep(await startTimestampAuthority(lab.dir));
    const rekor = lab.keep(await startRekor(lab.dir));
    const files = chain && (await makeCa(lab.dir, ...chain));
    const config = emailIssuerConfig(issuer.url);
    ca = lab.keep(await startCa({ dir: lab.dir, config, log: true, ...(files && { files }) }));
    const made = await createTrustFiles(lab.dir, {
      ca,
      caChainPath: join(ca.trustDir, 'ca.pem'),
      ctLogKeyPath: join(ca.trustDir, 'ctlog.pub.pem'),
      tsa,
      rekor,
      issuerUrl: issuer.url,
    });
    const trust = await withServicesOf(lab.dir, ownTrustFiles(ca.trustDir), made);
    trustConfig = await writeClientTrustConfig(lab.dir, trust);
  });
  afterAll(() => lab?.close());

  test('signs and verifies with the trust files that Mayfly wrote, and no one else passes', async () => {
    const python = toolPath('venv/bin/python');
    const file = join(lab.dir, 'blob');
    const bundle = join(lab.dir, 'bundle.json');
    await writeFile(file, 'a file to sign\n');

    const input = await issuer.idToken(jane);
    await mustRun(python, [script, 'sign', trustConfig, file, bundle], { cwd: lab.dir, input });

    const verify = (identity: string, url: string) =>
      run(python, [script, 'verify', trustConfig, file, bundle, identity, url], { cwd: lab.dir });
    expect(await verify(jane, issuer.url)).toMatchObject({ code: 0, stdout: 'verified\n' });
    const wrongIdentity = await verify('mallory@example.com', issuer.url);
    expect(wrongIdentity.stderr).toContain("Certificate's SANs do not match mallory@example.com");
    expect(wrongIdentity.code).not.toBe(0);
    const wrongIssuer = await verify(jane, 'http://127.0.0.1:1');
    expect(wrongIssuer.stderr).toContain(issuer.url);
    expect(wrongIssuer.code).not.toBe(0);
  });
});
